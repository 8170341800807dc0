/** The script of a report without a network to try: a study's, or a brief one. */
import { startTables } from './tables.ts';
import { startTheme } from './theme.ts';

startTheme();
startTables();
