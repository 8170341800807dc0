/** Starts the page: settings, the address, the service worker, the training. */
import { render } from 'preact';
import { App } from './app.tsx';
import { useServiceWorker } from './state/offline.ts';
import { followAddress } from './state/route.ts';
import { openSession } from './state/session.ts';
import { applySettings } from './state/settings.ts';

applySettings();
followAddress();
render(<App />, document.getElementById('app')!);
openSession();
useServiceWorker();
