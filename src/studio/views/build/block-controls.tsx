/** The settings of a block that is chosen. */
import type { JSX } from 'preact';
import { useId } from 'preact/hooks';
import { percent } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import { type Block, type BlockContent, mostWidth } from './blocks.ts';

export interface BlockControlsProps {
  readonly block: Block;
  readonly onChange: (content: BlockContent) => void;
}

export function BlockControls({ block, onChange }: BlockControlsProps): JSX.Element | null {
  const { build } = text.value;
  switch (block.kind) {
    case 'conv':
      return (
        <div class="block-controls">
          <Width label={build.maps} value={block.out} onChange={(out) => onChange({ ...block, out })} />
          <Choice
            label={build.kernel}
            value={block.kernel}
            values={[1, 3, 5, 7, 11]}
            shown={(side) => `${side}×${side}`}
            onChange={(kernel) => {
              // A map keeps its size if it did.
              const same = block.padding === Math.floor(block.kernel / 2);
              onChange({ ...block, kernel, padding: same ? Math.floor(kernel / 2) : block.padding });
            }}
          />
          <Choice
            label={build.stride}
            value={block.stride}
            values={[1, 2, 3, 4]}
            onChange={(stride) => onChange({ ...block, stride })}
          />
          <Choice
            label={build.padding}
            value={block.padding}
            values={[0, 1, 2, 3, 4, 5]}
            onChange={(padding) => onChange({ ...block, padding })}
          />
          <Switch label={build.norm} value={block.norm} onChange={(norm) => onChange({ ...block, norm })} />
          <Switch label={build.relu} value={block.relu} onChange={(relu) => onChange({ ...block, relu })} />
        </div>
      );
    case 'pool':
      return (
        <div class="block-controls">
          <Choice
            label={build.kernel}
            value={block.kernel}
            values={[2, 3, 4, 5, 8]}
            shown={(side) => `${side}×${side}`}
            onChange={(kernel) =>
              onChange({ ...block, kernel, stride: block.stride === block.kernel ? kernel : block.stride })
            }
          />
          <Choice
            label={build.stride}
            value={block.stride}
            values={[1, 2, 3, 4, 5, 8]}
            onChange={(stride) => onChange({ ...block, stride })}
          />
        </div>
      );
    case 'average':
      return (
        <div class="block-controls">
          <Choice
            label={build.size}
            value={block.size}
            values={[1, 2, 4, 7]}
            shown={(side) => `${side}×${side}`}
            onChange={(size) => onChange({ ...block, size })}
          />
        </div>
      );
    case 'linear':
      return (
        <div class="block-controls">
          <Width label={build.units} value={block.out} onChange={(out) => onChange({ ...block, out })} />
          <Switch label={build.relu} value={block.relu} onChange={(relu) => onChange({ ...block, relu })} />
        </div>
      );
    case 'dropout':
      return (
        <div class="block-controls">
          <Choice
            label={build.probability}
            value={block.probability}
            values={[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}
            shown={(share) => percent(share, 0)}
            onChange={(probability) => onChange({ ...block, probability })}
          />
        </div>
      );
    case 'flatten':
    case 'output':
    case 'other':
      return null;
    default:
      return block satisfies never;
  }
}

interface ChoiceProps {
  readonly label: string;
  readonly value: number;
  readonly values: readonly number[];
  readonly shown?: (value: number) => string;
  readonly onChange: (value: number) => void;
}

/** One of some numbers; the present one is among them, also if a preset has brought another. */
function Choice({ label, value, values, shown = String, onChange }: ChoiceProps): JSX.Element {
  const all = [...new Set([...values, value])].sort((a, b) => a - b);
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={({ currentTarget }) => onChange(Number(currentTarget.value))}>
        {all.map((one) => (
          <option key={one} value={one}>
            {shown(one)}
          </option>
        ))}
      </select>
    </label>
  );
}

/** A width to type. What is no width is not taken over. */
function Width(props: {
  readonly label: string;
  readonly value: number;
  readonly onChange: (value: number) => void;
}): JSX.Element {
  const { label, value, onChange } = props;
  return (
    <label class="field">
      <span>{label}</span>
      <input
        type="number"
        min={1}
        max={mostWidth}
        step={1}
        value={value}
        onChange={({ currentTarget }) => {
          const width = currentTarget.valueAsNumber;
          if (Number.isInteger(width) && width >= 1 && width <= mostWidth) onChange(width);
          else currentTarget.value = String(value);
        }}
      />
    </label>
  );
}

function Switch(props: {
  readonly label: string;
  readonly value: boolean;
  readonly onChange: (value: boolean) => void;
}): JSX.Element {
  const { label, value, onChange } = props;
  const id = useId();
  return (
    <span class="field switch">
      <input
        id={id}
        type="checkbox"
        checked={value}
        onChange={({ currentTarget }) => onChange(currentTarget.checked)}
      />
      <label for={id}>{label}</label>
    </span>
  );
}
