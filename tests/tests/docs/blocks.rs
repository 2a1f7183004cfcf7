//! The blocks of code in the documents, each with what its fence says it is. A fence that says nothing known is an
//! error, so that no block can be added that nobody runs.

use hailer_tests::built::checkout;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// The documents whose blocks are run.
pub(super) const PAGES: [&str; 6] =
    ["README.md", "docs/rules.md", "docs/cookbook.md", "docs/events.md", "docs/operations.md", "docs/abi.md"];

/// What a block is, and so what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `rust`: a rule, as a crate of its own would hold it.
    Rule,
    /// `rust continued`: goes on where the page's first rule ended.
    Continued,
    /// `rust handler`: stands in a `#[handlers]` block.
    Handler,
    /// `rust statements`: stand in a handler.
    Statements,
    /// `rust excerpt`: stands so in a rule that its section links to.
    Excerpt,
    /// `sh`: run, in one shell for all of a page.
    Shell,
    /// `sh background`: run until its section ends.
    Background,
    /// `sh no_run`: needs what a test can't have; its commands' flags are checked.
    NoRun,
    /// `toml campaign`: a campaign's file.
    Campaign,
    /// `toml grant`: a line of one.
    Grant,
    /// `toml config`: a configuration.
    Config,
    /// `toml scenarios`: a file of scenarios, for big-basket.
    Scenarios,
    /// `json event`: a line for a file source.
    Event,
    /// `json communication`: a line of a sink.
    Communication,
    /// `json manifest`.
    Manifest,
    /// `ini`: a unit for systemd.
    Unit,
    /// `text`: for people.
    Text,
}

const CLASSES: [(&str, Class); 17] = [
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
    ("json event", Class::Event),
    ("json communication", Class::Communication),
    ("json manifest", Class::Manifest),
    ("ini", Class::Unit),
    ("text", Class::Text),
];

#[derive(Clone, Debug)]
pub(super) struct Block {
    /// `docs/rules.md:17`, the line of its fence.
    pub(super) place: String,
    pub(super) page: &'static str,
    /// The heading that it stands under.
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

/// Those of one class; there are some.
pub(super) fn of(class: Class) -> Vec<Block> {
    let found: Vec<Block> = all().into_iter().filter(|block| block.class == class).collect();
    assert!(!found.is_empty(), "no block is {class:?} any more: nothing is tested");
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
                    format!("{place}: a block of code says `{said}`, which is none of: {}", known.join(", "))
                })?;
                block = Some(Block { place, page, section: section.clone(), class, text: String::new() });
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
    CLASSES.iter().find(|(known, _)| *known == said).map(|(_, class)| *class).ok_or_else(|| said.to_owned())
}
