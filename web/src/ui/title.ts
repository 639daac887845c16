import { useEffect } from 'react';

/** useTitle names the tab; a state in it shows in the list of tabs. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title === '' ? 'Penstock' : `${title} · Penstock`;
  }, [title]);
}
