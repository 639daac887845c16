import { Anchor, type AnchorProps } from '@mantine/core';
import { createLink } from '@tanstack/react-router';
import { forwardRef } from 'react';

const Base = forwardRef<HTMLAnchorElement, Omit<AnchorProps, 'href'>>((props, ref) => <Anchor ref={ref} inherit {...props} />);
Base.displayName = 'TextLink';

/** TextLink is a link to another page within a text. */
export const TextLink = createLink(Base);
