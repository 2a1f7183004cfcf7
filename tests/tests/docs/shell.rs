//! Makes scripts of the shell blocks of a page.

use hailer_tests::built;

use super::blocks::{Block, Class};

/// The commands of a page, run in order in one shell. Background blocks run in a second shell until
/// their section ends.
pub(super) fn script(blocks: &[Block]) -> String {
    // `set -m` gives each background job a process group, so that the whole group can be ended.
    let mut script = "set -em -o pipefail\n".to_owned();
    let mut background = None;
    for block in blocks {
        if background.as_ref().is_some_and(|section| *section != block.section) {
            script += END_BACKGROUND;
            background = None;
        }
        match block.class {
            Class::Shell => script += &format!("echo '== {}' >&2\n{}\n", block.place, block.text),
            Class::Background => {
                script += &format!(
                    "(\n{}) > /dev/null 2> background.log < /dev/null &\n{WAIT_UNTIL_READY}",
                    block.text
                );
                background = Some(block.section.clone());
            }
            _ => {}
        }
    }
    script + if background.is_some() { END_BACKGROUND } else { "" }
}

const WAIT_UNTIL_READY: &str = "background=$!\ntrap 'kill -- -$background 2> /dev/null' EXIT\nfor \
                                _ in {1..600}; do if hailer campaigns > /dev/null 2>&1; then \
                                break; fi; sleep 0.1; done\nhailer campaigns > /dev/null || { cat \
                                background.log >&2; exit 1; }\n";

/// Waits for the engine, too: it ends only when it has drained, and its shell does not wait for
/// that.
const END_BACKGROUND: &str = "kill -- -$background\nwait $background || true\ntrap - EXIT\nfor _ \
                              in {1..600}; do if ! kill -0 -- -$background 2> /dev/null; then \
                              break; fi; sleep 0.1; done\n";

/// The same commands, but `hailer` only checks its flags, and no other program runs.
pub(super) fn only_parsed(commands: &str) -> String {
    let hailer = built::hailer().display();
    format!(
        "set -e\nPATH=/nowhere\nhailer() {{ '{hailer}' \"$@\" --help > /dev/null; \
         }}\ncommand_not_found_handle() {{ return 0; }}\n{commands}"
    )
}
