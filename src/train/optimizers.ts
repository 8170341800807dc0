/**
 * Optimizers as users create them: settings only. The state (moments, step count) lives in the session on the device.
 * `lr` may be changed between epochs, as the lecture's `update_lr` does.
 */
import type { AdamOptions, MuonOptions, SgdOptions } from '../engine/backend.ts';
import { UsageError } from '../errors.ts';
import { isObject, shown } from '../options.ts';
import { unknownName } from '../suggest.ts';

export type AdamSettings = Partial<Omit<AdamOptions, 'kind'>>;
export type SgdSettings = Partial<Omit<SgdOptions, 'kind'>>;
export type MuonSettings = Partial<Omit<MuonOptions, 'kind'>>;

/**
 * Adam (Kingma & Ba, ICLR 2015) with PyTorch's defaults and its order of operations.
 * @throws UsageError if a setting is out of range.
 */
export function adam(options: AdamSettings = {}): AdamOptions {
  return adamLike('adam', options, 0);
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019), PyTorch's defaults: weightDecay 0.01.
 * @throws UsageError if a setting is out of range.
 */
export function adamw(options: AdamSettings = {}): AdamOptions {
  return adamLike('adamw', options, 0.01);
}

function adamLike(kind: AdamOptions['kind'], options: AdamSettings, decay: number): AdamOptions {
  refuseUnknown(kind, options, ['lr', 'betas', 'epsilon', 'weightDecay']);
  const { lr = 0.001, betas = [0.9, 0.999], epsilon = 1e-8, weightDecay = decay } = options;
  checkRate(kind, lr);
  if (!Array.isArray(betas) || betas.length !== 2) {
    throw new UsageError(`${kind}: betas = ${shown(betas)} is not a list of two numbers`);
  }
  if (!betas.every((beta) => beta >= 0 && beta < 1)) {
    throw new UsageError(`${kind}: betas = [${betas.join(', ')}]: both must be at least 0 and below 1`);
  }
  if (!(epsilon > 0)) throw new UsageError(`${kind}: epsilon = ${epsilon} is not a number above 0`);
  checkDecay(kind, weightDecay);
  return { kind, lr, betas, epsilon, weightDecay };
}

/**
 * Stochastic gradient descent as in torch.optim.SGD, but with momentum 0.9 by default; no dampening.
 * @throws UsageError if a setting is out of range, or for Nesterov momentum without momentum.
 */
export function sgd(options: SgdSettings = {}): SgdOptions {
  refuseUnknown('sgd', options, ['lr', 'momentum', 'nesterov', 'weightDecay']);
  const { lr = 0.1, momentum = 0.9, nesterov = false, weightDecay = 0 } = options;
  checkRate('sgd', lr);
  checkMomentum('sgd', momentum);
  if (nesterov && momentum === 0)
    throw new UsageError('sgd: nesterov needs momentum above 0; raise momentum or leave out nesterov');
  checkDecay('sgd', weightDecay);
  return { kind: 'sgd', lr, momentum, nesterov, weightDecay };
}

/**
 * Muon (Jordan et al. 2024) with the defaults of torch.optim.Muon, but a learning rate of 0.02. Weights of convolutions and
 * hidden linear layers are orthogonalized; other parameters learn by SGD with Nesterov momentum, at `otherLr` times the rate.
 * @throws UsageError if a setting is out of range.
 */
export function muon(options: MuonSettings = {}): MuonOptions {
  refuseUnknown('muon', options, ['lr', 'otherLr', 'momentum', 'weightDecay']);
  const { lr = 0.02, otherLr = 1, momentum = 0.95, weightDecay = 0.1 } = options;
  checkRate('muon', lr);
  if (!(otherLr > 0 && otherLr < Infinity)) {
    throw new UsageError(`muon: otherLr = ${otherLr} is not a finite number above 0`);
  }
  checkMomentum('muon', momentum);
  checkDecay('muon', weightDecay);
  return { kind: 'muon', lr, otherLr, momentum, weightDecay };
}

/** Plain JavaScript has no type check for settings. */
function refuseUnknown(kind: string, options: object, known: readonly string[]): void {
  if (!isObject(options)) throw new UsageError(`${kind}: the settings are ${shown(options)}, not an object`);
  // Settings spread from an optimizer also contain its kind.
  const name = Object.entries(options).find(
    ([key, value]) => !known.includes(key) && !(key === 'kind' && value === kind),
  )?.[0];
  if (name !== undefined) throw new UsageError(`${kind}: ${unknownName('setting', name, known)}`);
}

function checkRate(kind: string, lr: number): void {
  if (!(lr > 0 && lr < Infinity)) {
    throw new UsageError(`${kind}: learning rate lr = ${lr} is not a finite number above 0`);
  }
}

function checkMomentum(kind: string, momentum: number): void {
  if (!(momentum >= 0 && momentum < 1)) {
    throw new UsageError(`${kind}: momentum = ${momentum} is not at least 0 and below 1`);
  }
}

function checkDecay(kind: string, weightDecay: number): void {
  if (!(weightDecay >= 0 && weightDecay < Infinity)) {
    throw new UsageError(`${kind}: weightDecay = ${weightDecay} is not a finite number ≥ 0`);
  }
}
