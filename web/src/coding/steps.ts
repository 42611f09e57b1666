/** The steps of a long computation: between them it may be cancelled, and progress is reported. */

/** Ends the computation by throwing if it was cancelled. */
export type Pause = () => Promise<void>;

/** What a computation tells its caller, and how it learns that it is cancelled. */
export interface Steps {
  pause: Pause;
  progress: (done: number, total: number) => void;
}
