/**
 * `auto` beyond the processor: a GPU on which `vgg doctor` measured, on this machine, that training is faster than with
 * native kernels. Nothing is timed here, so that runs repeat; software adapters are never chosen.
 */
import { VggError } from '../../errors.ts';
import type { OpenSession } from '../backend.ts';

/** A session on such a GPU; undefined if there is none, so that the processor computes. */
export const openFaster = async (
  ...[network, options]: Parameters<OpenSession>
): Promise<Awaited<ReturnType<OpenSession>> | undefined> => {
  // A bundle for browsers has no such module.
  const stored = (await import('./stored-node.ts')) as Partial<typeof import('./stored-node.ts')>;
  const faster = stored.fasterGpu?.();
  if (!faster) return undefined;
  const { adapter, speed } = faster;
  try {
    const [{ openGpu }, { openWebgpu }] = await Promise.all([import('./device.ts'), import('./driver.ts')]);
    const gpu = await openGpu();
    if (gpu.isSoftware || gpu.adapter !== adapter) return undefined;
    const session = await openWebgpu(network, options);
    options.onNotice?.(
      `auto uses ${session.description}: vgg doctor measured ${Math.round(speed.gpu)} images/s in training ${speed.network}, ` +
        `and ${Math.round(speed.native)} with ${speed.description}`,
    );
    return session;
  } catch (error) {
    if (options.signal?.aborted || !(error instanceof VggError)) throw error;
    options.onNotice?.(`auto uses the processor, because the GPU cannot be used: ${error.message}`);
    return undefined;
  }
};
