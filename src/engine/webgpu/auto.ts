/**
 * `auto` beyond the processor. In Node: a GPU on which `vgg doctor` measured, on this machine, that training is faster than
 * with native kernels. In a page: any GPU, because a page has no native kernels and often one thread. Nothing is timed
 * here, so that runs repeat; software adapters are never chosen.
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
    const gpu = await (await import('./device.ts')).openGpu();
    if (gpu.isSoftware || gpu.adapter !== adapter) return undefined;
    const session = await (await import('./driver.ts')).openWebgpu(network, options);
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

/** A session on the page's GPU; undefined without one, and if the network does not fit it. */
export const openInPage = async (
  ...[network, options]: Parameters<OpenSession>
): Promise<Awaited<ReturnType<OpenSession>> | undefined> => {
  // Workers of some browsers have none, though the page has.
  if (!(globalThis.navigator as { readonly gpu?: unknown } | undefined)?.gpu) return undefined;
  const { openGpu } = await import('./device.ts');
  const gpu = await openGpu().catch((error: unknown) => {
    if (error instanceof VggError) return undefined;
    throw error;
  });
  if (!gpu || gpu.isSoftware) return undefined;
  try {
    return await (await import('./driver.ts')).openWebgpu(network, options);
  } catch (error) {
    if (options.signal?.aborted || !(error instanceof VggError)) throw error;
    options.onNotice?.(`auto uses the processor, because the GPU cannot be used: ${error.message}`);
    return undefined;
  }
};
