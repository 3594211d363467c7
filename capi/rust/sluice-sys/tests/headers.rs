//! The bindings are those of the C headers beside them: the same functions, constants and layouts.
//! When this fails, run regenerate.sh.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

// Only linked: the test reads texts.
use sluice_sys as _;

const BINDINGS: &str = include_str!("../src/bindings.rs");

fn headers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../include")
}

/// The three headers without comments; none where the crate was taken out of the repository.
fn declarations() -> Option<String> {
    let mut all = String::new();
    for name in ["sluice.h.in", "sluice_tools.h", "sluice_backend.h"] {
        let text = std::fs::read_to_string(headers().join(name)).ok()?;
        for (i, part) in text.split("/*").enumerate() {
            let code = if i == 0 { part } else { part.split_once("*/").map_or("", |p| p.1) };
            all.push_str(code);
        }
    }
    Some(all)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The word at the end of a text.
fn last_word(text: &str) -> &str {
    let text = text.trim_end();
    text.rfind(|c| !is_word(c)).map_or(text, |at| &text[at + 1..])
}

#[test]
fn the_same_functions() {
    let Declared { functions, .. } = match Declared::read() {
        Some(declared) => declared,
        None => return,
    };
    let bound: BTreeSet<&str> = BINDINGS
        .split("pub fn ")
        .skip(1)
        .filter_map(|rest| rest.split('(').next())
        .filter(|name| name.starts_with("sluice_"))
        .collect();
    assert!(bound.len() > 40);
    assert_eq!(bound, functions.iter().map(String::as_str).collect());
}

#[test]
fn the_same_constants() {
    let Declared { constants, .. } = match Declared::read() {
        Some(declared) => declared,
        None => return,
    };
    assert!(constants.len() > 25);
    let mut bound = BTreeMap::new();
    for rest in BINDINGS.split("pub const ").skip(1) {
        let line = rest.split(';').next().unwrap_or("");
        if let (Some((name, _)), Some((_, value))) = (line.split_once(':'), line.split_once('=')) {
            bound.insert(name.to_string(), value.trim().to_string());
        }
    }
    for (name, value) in &constants {
        assert_eq!(bound.get(name), Some(value), "{}", name);
    }
    // And the numbers among the macros: three of the version, and the ABI.
    assert_eq!(bound.len(), constants.len() + 4);
}

/// What the headers declare.
struct Declared {
    functions: BTreeSet<String>,
    constants: BTreeMap<String, String>,
}

impl Declared {
    fn read() -> Option<Declared> {
        let text = declarations()?;
        let mut functions = BTreeSet::new();
        for rest in text.split("\nSLUICE_API ").skip(1) {
            functions.insert(last_word(rest.split_once('(')?.0).to_string());
        }
        let mut constants = BTreeMap::new();
        for body in text.split("enum {").skip(1) {
            for entry in body.split_once('}')?.0.split(',') {
                if let Some((name, value)) = entry.split_once('=') {
                    constants.insert(name.trim().to_string(), value.trim().to_string());
                }
            }
        }
        Some(Declared { functions, constants })
    }
}

/// What the bindings' own tests say about layouts, as static assertions in C.
fn assertions() -> String {
    let text: String = BINDINGS.chars().filter(|c| !c.is_whitespace()).collect();
    let mut c = String::new();
    for rest in text.split("::std::mem::size_of::<").skip(1) {
        if let Some((name, rest)) = rest.split_once(">(),") {
            let size = rest.split_once("usize").map_or("", |parts| parts.0);
            writeln!(c, "_Static_assert(sizeof({}) == {}, \"\");", name, size).unwrap();
        }
    }
    for rest in text.split("::std::ptr::addr_of!((*ptr).").skip(1) {
        let field = rest.split_once(')').map_or("", |parts| parts.0);
        let offset = rest.split_once("},").and_then(|parts| parts.1.split_once("usize"));
        let name = rest.split_once("stringify!(").and_then(|parts| parts.1.split_once(')'));
        let (offset, name) = (offset.map_or("", |p| p.0), name.map_or("", |p| p.0));
        writeln!(c, "_Static_assert(offsetof({}, {}) == {}, \"\");", name, field, offset).unwrap();
    }
    c
}

#[test]
#[cfg(all(unix, target_pointer_width = "64"))]
fn the_same_layouts() {
    let header = match std::fs::read_to_string(headers().join("sluice.h.in")) {
        Ok(header) => header,
        Err(_) => return,
    };
    let assertions = assertions();
    assert!(assertions.lines().count() > 150, "{}", assertions);
    let folder = std::env::temp_dir().join(format!("sluice-headers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // What CMake fills in plays no part in layouts.
    std::fs::write(folder.join("sluice.h"), header.replace('@', "")).unwrap();
    let mut source = String::from("#include <sluice_tools.h>\n#include <sluice_backend.h>\n");
    source.push_str(&assertions);
    std::fs::write(folder.join("layouts.c"), source).unwrap();
    for name in ["sluice_tools.h", "sluice_backend.h"] {
        std::fs::copy(headers().join(name), folder.join(name)).unwrap();
    }
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.arg("-std=c11").arg("-fsyntax-only").arg("-I").arg(&folder);
    command.env_remove("LD_PRELOAD"); // what this test may run under is not for the compiler
    let output = command.arg(folder.join("layouts.c")).output().unwrap();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
