//! The code blocks of the documentation, each with the class that its fence names. A fence with an
//! unknown class is an error, so that every block is tested.

use hailer_tests::built::checkout;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The documents whose blocks are tested.
pub(super) const PAGES: [&str; 16] = [
    "README.md",
    "docs/rules.md",
    "docs/cookbook.md",
    "docs/policies.md",
    "docs/events.md",
    "docs/operations.md",
    "docs/operations/troubleshooting.md",
    "docs/operations/commands.md",
    "docs/operations/configuration.md",
    "docs/operations/metrics.md",
    "docs/operations/campaigns.md",
    "docs/operations/failures.md",
    "docs/operations/store.md",
    "docs/operations/sources-and-sinks.md",
    "docs/operations/recording.md",
    "docs/abi.md",
];

/// The class of a block: it decides how the block is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `rust`: a rule that is a crate of its own.
    Rule,
    /// `rust continued`: the continuation of the page's first rule.
    Continued,
    /// `rust handler`: the content of a `#[handlers]` block.
    Handler,
    /// `rust statements`: the content of a handler.
    Statements,
    /// `rust excerpt`: an excerpt of the rule that its section links to.
    Excerpt,
    /// `sh`: run, in one shell for the whole page.
    Shell,
    /// `sh background`: run until its section ends.
    Background,
    /// `sh no_run`: needs something that a test cannot have; only the flags of its commands are
    /// checked.
    NoRun,
    /// `toml campaign`: a campaign file.
    Campaign,
    /// `toml grant`: a line of a campaign file.
    Grant,
    /// `toml config`: a configuration file.
    Config,
    /// `toml scenarios`: a file of scenarios for big-basket.
    Scenarios,
    /// `toml policies`: a file `policies.toml`.
    Policies,
    /// `toml policy-scenarios`: a file of scenarios for the page's policies.
    PolicyScenarios,
    /// `json event`: a line for a file source.
    Event,
    /// `json communication`: a line from a sink.
    Communication,
    /// `json consents`: a file for `hailer consent import`.
    Consents,
    /// `json manifest`: a rule's manifest.
    Manifest,
    /// `ini`: a systemd unit.
    Unit,
    /// `text`: only for people; not tested.
    Text,
}

const CLASSES: [(&str, Class); 20] = [
    ("rust", Class::Rule),
    ("rust continued", Class::Continued),
    ("rust handler", Class::Handler),
    ("rust statements", Class::Statements),
    ("rust excerpt", Class::Excerpt),
    ("sh", Class::Shell),
    ("sh background", Class::Background),
    ("sh no_run", Class::NoRun),
    ("toml campaign", Class::Campaign),
    ("toml grant", Class::Grant),
    ("toml config", Class::Config),
    ("toml scenarios", Class::Scenarios),
    ("toml policies", Class::Policies),
    ("toml policy-scenarios", Class::PolicyScenarios),
    ("json event", Class::Event),
    ("json communication", Class::Communication),
    ("json consents", Class::Consents),
    ("json manifest", Class::Manifest),
    ("ini", Class::Unit),
    ("text", Class::Text),
];

#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The page and the line of the fence: `docs/rules.md:17`.
    pub(super) place: String,
    pub(super) page: &'static str,
    /// The heading of the block's section.
    pub(super) section: String,
    pub(super) class: Class,
    pub(super) text: String,
}

/// Every block of every page, in order.
pub(super) fn all() -> Vec<Block> {
    let read = |page| {
        let text = std::fs::read_to_string(checkout().join(page)).unwrap();
        blocks(page, &text).unwrap_or_else(|problem| panic!("{problem}"))
    };
    PAGES.into_iter().flat_map(read).collect()
}

/// All blocks of one class; there must be one.
pub(super) fn of(class: Class) -> Vec<Block> {
    let found: Vec<Block> = all().into_iter().filter(|block| block.class == class).collect();
    assert!(!found.is_empty(), "no block has the class {class:?}: nothing is tested");
    found
}

pub(super) fn blocks(page: &'static str, markdown: &str) -> Result<Vec<Block>, String> {
    let (mut found, mut section) = (Vec::new(), String::new());
    let mut block: Option<Block> = None;
    let mut in_heading = false;
    for (event, range) in Parser::new_ext(markdown, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => (in_heading, section) = (true, String::new()),
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Start(Tag::CodeBlock(kind)) => {
                let line = markdown[..range.start].lines().count().max(1);
                let place = format!("{page}:{line}");
                let class = class_of(&kind).map_err(|said| {
                    let known: Vec<&str> = CLASSES.iter().map(|(known, _)| *known).collect();
                    format!(
                        "{place}: a block of code says `{said}`, which is none of: {}",
                        known.join(", ")
                    )
                })?;
                block = Some(Block {
                    place,
                    page,
                    section: section.clone(),
                    class,
                    text: String::new(),
                });
            }
            Event::End(TagEnd::CodeBlock) => found.extend(block.take()),
            Event::Text(text) => match &mut block {
                Some(block) => block.text += &text,
                None if in_heading => section += &text,
                None => {}
            },
            _ => {}
        }
    }
    Ok(found)
}

fn class_of(kind: &CodeBlockKind<'_>) -> Result<Class, String> {
    let said = match kind {
        CodeBlockKind::Indented => "",
        CodeBlockKind::Fenced(said) => said,
    };
    CLASSES
        .iter()
        .find(|(known, _)| *known == said)
        .map(|(_, class)| *class)
        .ok_or_else(|| said.to_owned())
}
