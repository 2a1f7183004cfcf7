//! Scripts made of the pages' shell blocks.

use hailer_tests::built;

use super::blocks::{Block, Class};

/// All that a page runs, as somebody would who reads it from top to bottom: one shell, and another one for what goes on
/// in the background until its section ends.
pub(super) fn script(blocks: &[Block]) -> String {
    // With a process group for each background job, it can be ended whole.
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
                script +=
                    &format!("(\n{}) > /dev/null 2> background.log < /dev/null &\n{UNTIL_IT_ANSWERS}", block.text);
                background = Some(block.section.clone());
            }
            _ => {}
        }
    }
    script + if background.is_some() { END_BACKGROUND } else { "" }
}

const UNTIL_IT_ANSWERS: &str = "background=$!\n\
    trap 'kill -- -$background 2> /dev/null' EXIT\n\
    for _ in {1..600}; do if hailer campaigns > /dev/null 2>&1; then break; fi; sleep 0.1; done\n\
    hailer campaigns > /dev/null || { cat background.log >&2; exit 1; }\n";

/// The engine ends when it has drained, which its shell does not wait for.
const END_BACKGROUND: &str = "kill -- -$background\nwait $background || true\ntrap - EXIT\n\
    for _ in {1..600}; do if ! kill -0 -- -$background 2> /dev/null; then break; fi; sleep 0.1; done\n";

/// The same commands, but `hailer` only looks whether it knows its flags, and nothing else is there.
pub(super) fn only_parsed(commands: &str) -> String {
    let hailer = built::hailer().display();
    format!(
        "set -e\nPATH=/nowhere\n\
         hailer() {{ '{hailer}' \"$@\" --help > /dev/null; }}\n\
         command_not_found_handle() {{ return 0; }}\n\
         {commands}"
    )
}
