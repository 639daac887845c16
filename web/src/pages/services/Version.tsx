import { Anchor } from '@mantine/core';
import type { Application } from '../../api/client';
import { imageName, short } from '../../ui/names';

/** VersionOf says what runs, and where. */
export function VersionOf({ app }: { app: Application }) {
  const images = app.images ?? [];
  const first = images[0] === undefined ? undefined : imageName(images[0]);
  return (
    <>
      {first ? <span className="mono" title={images.join('\n')}>{first.name.split('/').at(-1)}:{first.version}</span> : app.revision ? <span className="mono">{short(app.revision)}</span> : 'nothing yet'}
      {images.length > 1 && ` and ${images.length - 1} more`}
      {' in '}{app.destination}
      {app.urls?.map((u) => <span key={u}>{' · '}<Anchor inherit href={u} target="_blank" rel="noreferrer">{u.replace(/^https?:\/\//, '').replace(/\/$/, '')}</Anchor></span>)}
    </>
  );
}
