//! The crates of this repository and the modules inside them depend one way. `make crates` prints
//! both graphs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use hailer_tests::built::checkout;

/// The folders of the crates that the rules below hold for.
const CRATES: &[&str] = &[
    "guest-sdk/abi",
    "guest-sdk/macros",
    "guest-sdk",
    "host/base",
    "host/event",
    "host/engine",
    "host/store",
    "host/broker",
    "host/generate",
    "host/pipeline",
    "host",
];

/// Files side by side in one folder that are one idea, and so may depend on each other; and one
/// exception: all `unsafe` of the SDK is in `module.rs`, which reads texts for `wire`.
const ONE_IDEA: &[&[&str]] = &[
    &["condition", "manifest"],
    &["param", "rule"],
    &["module", "wire"],
    &["tape", "text"],
    &["customer", "envelope", "identity"],
    &["encode", "locate", "project"],
    &["instance", "log", "sandbox"],
    &["batch", "campaign", "crossings", "fitness", "guards", "purity", "ruleset"],
];

/// The nodes that each node depends on.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
#[expect(clippy::print_stdout, reason = "`make crates` shows it")]
fn crates_and_folders_depend_one_way() {
    let mut circles = Vec::new();
    println!("crates:");
    for folder in CRATES.iter().filter(|folder| checkout().join(folder).is_dir()) {
        println!("  {folder} -> {}", our_dependencies(folder).join(", "));
    }
    for folder in CRATES.iter().filter(|folder| checkout().join(folder).is_dir()) {
        let graph = modules_of(&checkout().join(folder).join("src"));
        println!("{folder}/src:");
        for (module, needs) in &graph {
            let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
            println!("  {module} -> {}", needs.join(", "));
        }
        for circle in circles_of(&graph) {
            let names: Vec<&str> = circle.iter().map(String::as_str).collect();
            if !ONE_IDEA.iter().any(|idea| names.iter().all(|name| idea.contains(name))) {
                circles.push(format!("{folder}/src: {}", names.join(", ")));
            }
        }
    }
    assert!(circles.is_empty(), "these modules depend on each other in a circle: {circles:#?}");
}

/// Neither the decision core nor the policies read a store or a clock, send, count or log.
#[test]
fn the_decision_core_has_no_io_and_no_clock() {
    let folder = checkout().join("host/pipeline/src");
    let core = [
        "decide",
        "dispose",
        "gather",
        "judge",
        "merge",
        "release",
        "rows",
        "rows/deferred",
        "rows/merge",
        "statements",
    ];
    for file in core {
        let text = std::fs::read_to_string(folder.join(format!("pipeline/{file}.rs"))).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for foreign in [
            "tracing::",
            "metrics::",
            "mpsc",
            "tokio",
            "dyn Store",
            "dyn Snapshot",
            ".snapshot(",
            ".commit(",
            "clock::now",
            "clock::reading",
            "std::fs",
            "std::io",
            "SystemTime",
            "Instant::now",
        ] {
            assert!(!code.contains(foreign), "{file}.rs contains `{foreign}`");
        }
    }
}

#[test]
fn unsafe_code_is_only_where_the_architecture_says() {
    let page = std::fs::read_to_string(checkout().join("ARCHITECTURE.md")).unwrap();
    let (_, named) = page.split_once("`unsafe` is denied").unwrap();
    let (named, _) = named.split_once(".\n").unwrap();
    let named: BTreeSet<&str> = named.split('`').skip(1).step_by(2).collect();
    let mut found = BTreeSet::new();
    for folder in ["guest-sdk", "host", "rules"] {
        let mut files = Vec::new();
        collect(&checkout().join(folder), &mut files);
        for (path, text) in files {
            // A crate lints `unsafe_code`, so each exception names the lint.
            let is_excepted = text.contains("unsafe_code,") || text.contains("unsafe_code)");
            if is_excepted && !path.contains("target/") {
                found.insert(format!("{folder}/{path}"));
            }
        }
    }
    assert_eq!(found.len(), named.len(), "{found:?} and {named:?}");
    for file in named {
        assert!(found.iter().any(|path| path.ends_with(file)), "{file} has no unsafe code");
    }
}

#[test]
fn a_circle_is_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*to).to_owned()).or_default();
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circles_of(&graph)
    };
    assert!(graph(&[("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    let found = graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]);
    assert_eq!(found, [BTreeSet::from(["b".to_owned(), "c".to_owned()])]);
}

/// The crates of this repository that a crate depends on, from its manifest.
fn our_dependencies(folder: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(checkout().join(folder).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys);
    names.filter(|name| name.starts_with("hailer-")).cloned().collect()
}

/// The top-level modules of a crate, each with those that its files name as `crate::…`; or, for a
/// file beside `lib.rs`, as `super::…`.
fn modules_of(source: &Path) -> Graph {
    let mut files = Vec::new();
    collect(source, &mut files);
    let module_of = |path: &str| path.split(['/', '.']).next().unwrap().to_owned();
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module_of(path)).collect();
    let mut graph: Graph = modules.iter().map(|module| (module.clone(), BTreeSet::new())).collect();
    for (path, text) in &files {
        let module = module_of(path);
        if ["lib", "main"].contains(&&*module) || path.contains("test") || path.contains("fixture")
        {
            continue;
        }
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .fold(String::new(), |code, line| code + line + "\n");
        let code = code.split("#[cfg(test)]\nmod ").next().unwrap();
        let mut prefixes = vec!["crate::"];
        if !path.contains('/') {
            prefixes.push("super::");
        }
        for prefix in prefixes {
            for rest in code.split(prefix).skip(1) {
                let names = match rest.strip_prefix('{') {
                    Some(list) => list.split('}').next().unwrap(),
                    None => rest,
                };
                let is_list = rest.starts_with('{');
                for name in names.split([',', '{']).take(if is_list { usize::MAX } else { 1 }) {
                    let end = |letter: char| !letter.is_alphanumeric() && letter != '_';
                    let name = name.trim().split(end).next().unwrap();
                    // A file's own child, under the same name as a module beside it, is not meant.
                    let is_child = prefix == "super::"
                        && source.join(&module).join(format!("{name}.rs")).exists();
                    if modules.contains(name) && name != module && !is_child {
                        graph.get_mut(&module).unwrap().insert(name.to_owned());
                    }
                }
            }
        }
    }
    graph
}

/// Every source below a folder: its path from there, and its text.
fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
    fn visit(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                visit(&path, root, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    visit(folder, folder, files);
}

/// Sets of nodes that all reach each other.
fn circles_of(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|start| {
            let (mut found, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(node) = next.pop() {
                next.extend(graph[node].iter().filter(|other| found.insert(*other)));
            }
            (start, found)
        })
        .collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for (node, others) in &reached {
        let mutual = others.iter().filter(|other| reached[**other].contains(*node));
        let circle: BTreeSet<String> = mutual.map(|other| (*other).clone()).collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}
