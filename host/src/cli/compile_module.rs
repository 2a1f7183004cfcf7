//! `hailer compile-module`: the child in which the engine compiles a module. Not for people: what it reads and writes
//! is between the engine and itself.

use clap::Args;

use crate::daemon;

/// Compile a module within limits; the engine calls this
#[derive(Debug, Args)]
pub(super) struct CompileModule {}

impl CompileModule {
    pub(super) fn run(self) -> u8 {
        daemon::compile_child()
    }
}
