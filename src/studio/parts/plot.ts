/** The marks of Observable Plot that the charts use: a chunk of its own, loaded with the first chart. */
export {
  areaY,
  dot,
  line,
  plot,
  type RenderableMark,
  ruleX,
  ruleY,
  type ScaleOptions,
  text,
} from '@observablehq/plot';
