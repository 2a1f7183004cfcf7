//! Every way in which a child can end, with this test binary as the child; and the artifact cache.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use tempfile::TempDir;

use super::super::compile_child::compile;
use super::*;
use crate::engine::{Limits, fixture, verify};

const BEHAVIOUR: &str = "HAILER_TEST_CHILD";

/// The child that the other tests start; not a test of its own.
#[test]
fn a_child() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else { return };
    let precompile = |limits: &Limits, compatibility: &str, module: &[u8]| match behaviour.as_str()
    {
        "compile" => Ok(artifact_of(module)),
        "refuse" => Err("function 3 has\u{1b}[31m no end\nat byte 7".to_owned()),
        "grow" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 16 << 20]);
                std::hint::black_box(&mut hoard);
            }
        }
        "split" => {
            let too_large = std::thread::Builder::new().stack_size(1 << 30);
            Err(too_large.spawn(|| ()).err().map_or(String::new(), |error| error.to_string()))
        }
        "spin" => loop {
            std::hint::black_box(());
        },
        "sleep" => loop {
            std::thread::park();
        },
        "flood" => Ok(vec![0; ARTIFACT_BYTES_MAX as usize + 1]),
        "complain" => Err("x ".repeat(1 << 20)),
        "crash" => std::process::abort(),
        "nothing" => Ok(Vec::new()),
        "describe" => Err(describe()),
        "repeat" => Err(format!("{} {compatibility}", limits.stack_bytes_max)),
        other => panic!("no such behaviour: {other}"),
    };
    match compile(io::stdin().lock(), precompile) {
        Ok(()) => std::process::exit(0),
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            std::process::exit(1);
        }
    }
}

fn describe() -> String {
    use rustix::process::{Resource, getpriority_process, getrlimit};
    let limits =
        [Resource::Core, Resource::As, Resource::Cpu].map(|resource| getrlimit(resource).maximum);
    let environment: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
    format!("{limits:?} {:?} {environment:?}", getpriority_process(None))
}

fn artifact_of(module: &[u8]) -> Vec<u8> {
    [b"artifact of ", module].concat()
}

struct Workshop {
    data: TempDir,
    module: VerifiedModule,
}

impl Workshop {
    fn new() -> Workshop {
        let module = verify(fixture::rule(fixture::MANIFEST), &Limits::default()).unwrap();
        Workshop { data: tempfile::tempdir().unwrap(), module }
    }

    fn compiler(&self, behaviour: &str) -> Compiler {
        self.compatible(behaviour, "wasmtime 48")
    }

    fn compatible(&self, behaviour: &str, compatibility: &str) -> Compiler {
        let child = ChildCommand {
            program: std::env::current_exe().unwrap(),
            args: ["--exact", "--nocapture", "reload::compile::tests::a_child"]
                .map(Into::into)
                .into(),
            environment: vec![(BEHAVIOUR.into(), behaviour.into())],
        };
        let limits = Limits {
            stack_bytes_max: 128 << 10,
            compile_cpu_ms_max: 1000,
            compile_memory_bytes_max: 512 << 20,
            ..Limits::default()
        };
        Compiler::open(child, self.data.path(), compatibility, &limits).unwrap()
    }

    fn outcome(&self, behaviour: &str) -> Result<Vec<u8>, CompileError> {
        let mut compiler = self.compiler(behaviour);
        // A machine that runs all tests at once may give the child little CPU time.
        compiler.wall_max = Duration::from_secs(60);
        compiler.artifact(&self.module)
    }

    /// Path of the only file in the cache.
    fn cached(&self) -> PathBuf {
        let mut files = fs::read_dir(self.data.path().join("artifacts")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "no other file is left");
        file
    }
}

#[test]
fn a_module_is_compiled_once_and_then_read_from_the_cache() {
    let workshop = Workshop::new();
    let artifact = artifact_of(&workshop.module.bytes);
    assert_eq!(workshop.outcome("compile").unwrap(), artifact);
    assert_eq!(workshop.outcome("refuse").unwrap(), artifact, "no child is started");
    assert_eq!(fs::metadata(workshop.cached()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_artifact_of_another_compiler_is_not_used() {
    let workshop = Workshop::new();
    workshop.outcome("compile").unwrap();
    let other = workshop.compatible("refuse", "wasmtime 49").artifact(&workshop.module);
    assert!(matches!(other, Err(CompileError::Refused { .. })));
}

#[test]
fn a_damaged_artifact_is_compiled_again_and_never_used() {
    let workshop = Workshop::new();
    let artifact = workshop.outcome("compile").unwrap();
    let whole = fs::read(workshop.cached()).unwrap();
    for spot in [0, 31, 32, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[spot] ^= 1;
        fs::write(workshop.cached(), damaged).unwrap();
        assert_eq!(workshop.outcome("compile").unwrap(), artifact, "{spot}");
        assert_eq!(fs::read(workshop.cached()).unwrap(), whole, "{spot}");
    }
    for length in [0, 16, 32, whole.len() - 1] {
        fs::write(workshop.cached(), &whole[..length]).unwrap();
        assert_eq!(workshop.outcome("compile").unwrap(), artifact, "{length}");
    }
}

#[test]
fn an_artifact_under_another_modules_name_is_not_used() {
    let mut workshop = Workshop::new();
    workshop.outcome("compile").unwrap();
    let other = fixture::rule(&fixture::MANIFEST.replace("0.1.0", "0.2.0"));
    let other = verify(other, &Limits::default()).unwrap();
    let from = workshop.cached();
    let to = from.to_str().unwrap().replace(&*workshop.module.digest, &other.digest);
    fs::rename(&from, to).unwrap();
    workshop.module = other;
    assert_eq!(workshop.outcome("compile").unwrap(), artifact_of(&workshop.module.bytes));
}

#[test]
fn a_link_in_the_cache_is_not_followed() {
    let workshop = Workshop::new();
    let artifact = workshop.outcome("compile").unwrap();
    let elsewhere = workshop.data.path().join("elsewhere");
    fs::rename(workshop.cached(), &elsewhere).unwrap();
    let name = format!("{}", fs::read_dir(workshop.data.path().join("artifacts")).unwrap().count());
    assert_eq!(name, "0");
    workshop.outcome("compile").unwrap();
    let place = workshop.cached();
    fs::remove_file(&place).unwrap();
    symlink(&elsewhere, &place).unwrap();
    assert_eq!(workshop.outcome("compile").unwrap(), artifact);
    assert!(!fs::symlink_metadata(place).unwrap().is_symlink(), "it was compiled again");
}

#[test]
fn a_cache_that_others_can_write_is_refused() {
    let workshop = Workshop::new();
    workshop.outcome("compile").unwrap();
    let directory = workshop.data.path().join("artifacts");
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    for mode in [0o720, 0o702] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        let child = ChildCommand { program: "x".into(), args: vec![], environment: vec![] };
        let refused = Compiler::open(child, workshop.data.path(), "x", &Limits::default());
        assert!(matches!(refused, Err(CompileError::Cache { .. })));
    }
}

#[test]
fn the_cache_evicts_artifacts_that_are_not_in_use() {
    let workshop = Workshop::new();
    let mut compiler = workshop.compiler("compile");
    let digests: Vec<String> = ["0.2.0", "0.3.0", "0.4.0"]
        .map(|version| {
            let module = fixture::rule(&fixture::MANIFEST.replace("0.1.0", version));
            let module = verify(module, &Limits::default()).unwrap();
            compiler.artifact(&module).unwrap();
            module.digest.to_string()
        })
        .into();
    compiler.retain(std::iter::empty());
    assert!(
        digests.iter().all(|digest| compiler.cache.read(digest).is_some()),
        "the cache has room for all"
    );
    compiler.cache.set_bytes_max(1);
    compiler.retain([digests[1].as_str()]);
    let is_kept = |digest: &String| compiler.cache.read(digest).is_some();
    assert_eq!(digests.iter().map(is_kept).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn the_compilers_message_is_one_line_without_control_characters() {
    match Workshop::new().outcome("refuse") {
        Err(CompileError::Refused { reason }) => {
            assert!(reason.ends_with("function 3 has\\u{1b}[31m no end; at byte 7"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_compilers_message_is_cut() {
    let error = Workshop::new().outcome("complain").unwrap_err();
    assert!(error.to_string().len() < 5 << 10, "{}", error.to_string().len());
}

#[test]
fn a_compilation_that_takes_too_much_memory_is_stopped() {
    for behaviour in ["grow", "split"] {
        let error = Workshop::new().outcome(behaviour).unwrap_err();
        assert!(
            matches!(error, CompileError::Memory { memory_bytes: 536_870_912 }),
            "{behaviour}: {error}"
        );
    }
}

#[test]
fn a_compilation_that_takes_too_much_processor_time_is_stopped() {
    let error = Workshop::new().outcome("spin").unwrap_err();
    assert!(matches!(error, CompileError::CpuTime { cpu_seconds: 1 }), "{error}");
}

#[test]
fn a_compilation_that_does_not_end_is_stopped() {
    let workshop = Workshop::new();
    let mut compiler = workshop.compiler("sleep");
    compiler.wall_max = Duration::from_millis(50);
    let error = compiler.artifact(&workshop.module).unwrap_err();
    assert!(matches!(error, CompileError::WallTime { .. }), "{error}");
}

#[test]
fn a_flood_a_crash_and_an_empty_artifact_have_errors_of_their_own() {
    let workshop = Workshop::new();
    assert!(matches!(workshop.outcome("flood"), Err(CompileError::ArtifactTooLarge)));
    assert!(matches!(workshop.outcome("crash"), Err(CompileError::Signal { signal: 6 })));
    assert!(matches!(workshop.outcome("nothing"), Err(CompileError::NoArtifact)));
    assert_eq!(fs::read_dir(workshop.data.path().join("artifacts")).unwrap().count(), 0);
}

#[test]
fn a_child_that_cannot_be_started_is_an_error() {
    let workshop = Workshop::new();
    let mut compiler = workshop.compiler("compile");
    compiler.child.program = "/nonexistent/hailer".into();
    assert!(matches!(compiler.artifact(&workshop.module), Err(CompileError::Start(_))));
}

#[test]
fn the_child_is_niced_and_limited_and_sees_no_secrets() {
    match Workshop::new().outcome("describe") {
        Err(CompileError::Refused { reason }) => {
            // Ten above the niceness of its parent, up to the maximum.
            let nice = (rustix::process::getpriority_process(None).unwrap() + 10).min(19);
            let expected =
                format!("[Some(0), Some(536870912), Some(2)] Ok({nice}) [\"{BEHAVIOUR}\"]");
            assert!(reason.ends_with(&expected), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_child_receives_the_engines_limits_and_compatibility() {
    let workshop = Workshop::new();
    let CompileError::Refused { reason } = workshop.outcome("repeat").unwrap_err() else {
        panic!("it refuses")
    };
    assert_eq!(reason, "131072 wasmtime 48");
}

#[test]
fn the_command_refuses_to_be_called_by_people() {
    let error = compile(&b"welcome.wasm\n"[..], |_, _, _| Ok(Vec::new())).unwrap_err();
    assert!(error.contains("hailer check"), "{error}");
}

#[test]
fn this_program_is_found_even_if_its_file_was_replaced() {
    let child = ChildCommand::of_this_program().unwrap();
    assert_eq!(child.args, [COMPILE_COMMAND]);
    assert!(Arc::new(child).program.is_absolute());
}
