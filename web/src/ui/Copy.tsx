import { ActionIcon, Code, CopyButton, Group } from '@mantine/core';

/** Command shows what to type for the same, and copies it. */
export function Command({ children }: { children: string }) {
  return (
    <Group gap={4} wrap="nowrap" className="command">
      <Code className="command-text">{children}</Code>
      <CopyButton value={children}>
        {({ copied, copy }) => (
          <ActionIcon variant="subtle" color="gray" size="sm" onClick={copy} aria-label={copied ? 'Copied' : 'Copy the command'} title="Copy">
            {copied ? <span aria-hidden>✓</span> : <CopyIcon />}
          </ActionIcon>
        )}
      </CopyButton>
    </Group>
  );
}

function CopyIcon() {
  return (
    <svg width="14" height="14" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden>
      <rect x="5.500" y="5.500" width="8" height="8" rx="1.500" /><path d="M10.500 3.500v-1h-8v8h1" />
    </svg>
  );
}
