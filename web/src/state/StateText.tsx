import { Text } from '@mantine/core';
import { colors, glyphs, type State } from './states';

/** StateText shows a state by shape, word and colour. `says` replaces the word. */
export function StateText({ state, says, bare = false }: { state: State; says?: string | undefined; bare?: boolean }) {
  const word = says ?? state;
  return (
    <Text span inherit c={`var(--mantine-color-${colors[state]}-text)`} style={{ whiteSpace: 'nowrap' }} title={word}>
      <span aria-hidden className={state === 'running' ? 'pulse' : undefined}>{glyphs[state]}</span>
      {bare ? <span className="sr-only">{word}</span> : ` ${word}`}
    </Text>
  );
}
