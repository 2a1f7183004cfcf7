//! `hailer compile-module`: the child in which the engine compiles a module. Not for people: its arguments, and what
//! it writes, are between the engine and itself.

use std::ffi::OsString;

use clap::Args;

use super::DONE;

/// Compile a module within limits; the engine calls this
#[derive(Debug, Args)]
pub(super) struct CompileModule {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl CompileModule {
    pub(super) fn run(self) -> anyhow::Result<u8> {
        crate::daemon::compile_module(&self.arguments)?;
        Ok(DONE)
    }
}
