//! Replays on modules of our own.
