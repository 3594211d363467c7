//! Finds libsluice, or builds it; README.md has the rules. Without dependencies: the few lines of
//! pkg-config and CMake that it takes are here.
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The version of pkg-config's sluice that has all that the bindings name.
const AT_LEAST: &str = "0.1.0";

fn main() -> ExitCode {
    for name in [
        "SLUICE_LIB_DIR",
        "SLUICE_INCLUDE_DIR",
        "SLUICE_SOURCE_DIR",
        "PKG_CONFIG",
        "PKG_CONFIG_PATH",
        "PKG_CONFIG_LIBDIR",
    ] {
        println!("cargo:rerun-if-env-changed={}", name);
    }
    println!("cargo:rerun-if-changed=build.rs");
    let result = match folder("SLUICE_LIB_DIR") {
        Some(lib_dir) => use_folder(&lib_dir),
        None if feature("VENDORED") => build_sources(),
        None => ask_pkg_config(None, feature("STATIC")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("sluice-sys: {}", message);
            ExitCode::FAILURE
        }
    }
}

fn feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{}", name)).is_some()
}

/// The value of an environment variable that names a folder; an empty one counts as unset.
fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A library whose folder was named.
fn use_folder(lib_dir: &Path) -> Result<(), String> {
    if let Some(include_dir) = folder("SLUICE_INCLUDE_DIR") {
        check_abi(&include_dir)?;
        println!("cargo:include={}", include_dir.display());
    }
    if feature("STATIC") {
        // The archive's own dependencies are in the sluice.pc that was installed beside it.
        return ask_pkg_config(Some(&lib_dir.join("pkgconfig")), true);
    }
    println!("cargo:rustc-link-search=native={}", lib_dir.display());
    println!("cargo:rustc-link-lib=dylib=sluice");
    println!("cargo:lib={}", lib_dir.display());
    Ok(())
}

/// The bindings are those of one ABI number, which `sluice.h` states.
fn check_abi(include_dir: &Path) -> Result<(), String> {
    let path = include_dir.join("sluice.h");
    println!("cargo:rerun-if-changed={}", path.display());
    let header =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {}", path.display(), error))?;
    let abi = header.lines().find_map(|line| line.strip_prefix("#define SLUICE_ABI "));
    match abi.map(str::trim) {
        Some("1") => Ok(()),
        other => Err(format!(
            "{} is of ABI {}, these bindings of ABI 1",
            path.display(),
            other.unwrap_or("unknown")
        )),
    }
}

/// Adds what pkg-config says about `sluice`, looking in `first` before elsewhere; `archive`: about
/// the static library and what it needs.
fn ask_pkg_config(first: Option<&Path>, archive: bool) -> Result<(), String> {
    let program = env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let mut command = Command::new(&program);
    if let Some(first) = first {
        let mut folders = vec![first.to_path_buf()];
        folders.extend(env::split_paths(&env::var_os("PKG_CONFIG_PATH").unwrap_or_default()));
        let joined = env::join_paths(folders).map_err(|error| error.to_string())?;
        command.env("PKG_CONFIG_PATH", joined);
    }
    if archive {
        command.arg("--static");
    }
    command.args(["--libs", "--cflags", &format!("sluice >= {}", AT_LEAST)]);
    let output = command
        .output()
        .map_err(|error| format!("{} cannot be run: {}", program.to_string_lossy(), error))?;
    if !output.status.success() {
        return Err(format!(
            "no installed sluice was found. Install it (cmake --install), set PKG_CONFIG_PATH or \
             SLUICE_LIB_DIR, or build it with the feature \"vendored\". pkg-config said:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    pass_on_flags(&String::from_utf8_lossy(&output.stdout), archive);
    Ok(())
}

/// From flags of the C compiler to what cargo understands.
fn pass_on_flags(flags: &str, archive: bool) {
    for flag in flags.split_whitespace() {
        if let Some(path) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={}", path);
            println!("cargo:lib={}", path);
        } else if let Some(name) = flag.strip_prefix("-l") {
            let kind = if archive && name == "sluice" { "static" } else { "dylib" };
            println!("cargo:rustc-link-lib={}={}", kind, name);
        } else if let Some(path) = flag.strip_prefix("-I") {
            println!("cargo:include={}", path);
        } else if flag == "-pthread" {
            println!("cargo:rustc-link-lib=dylib=pthread");
        }
    }
}

/// Configures, builds and installs the sources into cargo's own folder.
fn build_sources() -> Result<(), String> {
    let own = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let source = folder("SLUICE_SOURCE_DIR").unwrap_or_else(|| own.join("../../.."));
    if !source.join("capi/include/sluice.h.in").is_file() {
        return Err(format!(
            "{} does not hold Sluice's sources: set SLUICE_SOURCE_DIR",
            source.display()
        ));
    }
    for part in ["CMakeLists.txt", "capi/src", "capi/include", "cmake", "include", "lib"] {
        println!("cargo:rerun-if-changed={}", source.join(part).display());
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    let (build, prefix) = (out.join("build"), out.join("prefix"));
    let mut configure = cmake();
    configure.arg("-S").arg(&source).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_INSTALL_PREFIX={}", prefix.display()));
    configure.args(["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INSTALL_LIBDIR=lib"]);
    configure.args(["-DSLUICE_BUILD_TESTS=OFF", "-DSLUICE_BUILD_EXAMPLES=OFF"]);
    run(&mut configure)?;
    let jobs = env::var("NUM_JOBS").unwrap_or_else(|_| "1".to_string());
    run(cmake().arg("--build").arg(&build).args(["--parallel", &jobs]))?;
    run(cmake().arg("--install").arg(&build))?;
    // A shared library in cargo's folder is found under `cargo run` alone: the archive, where CMake
    // could make one.
    let lib_dir = prefix.join("lib");
    let archive = feature("STATIC") || lib_dir.join("libsluice.a").is_file();
    ask_pkg_config(Some(&lib_dir.join("pkgconfig")), archive)
}

fn cmake() -> Command {
    Command::new(env::var_os("CMAKE").unwrap_or_else(|| "cmake".into()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{:?}: {}", command, error))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{:?} failed: {}", command, status))
    }
}
