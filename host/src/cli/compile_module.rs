//! `hailer compile-module`: the child process in which the engine compiles a module. It is not for
//! people: its input and output are known to the engine alone.

use clap::Args;

use crate::daemon;

/// Compile a module within limits (called by the engine)
#[derive(Debug, Args)]
pub(super) struct CompileModule {}

impl CompileModule {
    pub(super) fn run(self) -> u8 {
        daemon::compile_child()
    }
}
