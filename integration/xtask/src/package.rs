//! `cargo xtask package`: Debian packages of what is in this tree, and nothing else.
//!
//! What a package holds stands in `packaging/debian/NAME/install`, its words in `control` beside it; scripts of installation are
//! plain files there. dpkg-deb packs it. The same programs give the same bytes: times are the last commit's, owners root.

mod check;
mod editor;
mod manual;
mod paths;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::shell::{cargo, output, root, run, target};

const USAGE: &str = "cargo xtask package [--out DIR | --check]

  builds the Debian packages into target/package, or DIR
  --out DIR  where to
  --check    packs the development build twice, compares, and asks lintian";

/// The packages, and the programs that each takes: cargo's package, the program.
const PACKAGES: [(&str, &[(&str, &str)]); 3] = [
    (
        "aditd",
        &[
            ("adit-service", "aditd"),
            ("ctl", "ctl"),
            ("adit-ppp-scripts", "adit-ppp-scripts"),
            ("adit-names", "adit-names"),
        ],
    ),
    ("network-manager-adit", &[("adit-nm", "nm-adit-service"), ("adit-nm", "nm-adit-auth-dialog")]),
    ("network-manager-adit-compat", &[]),
];

/// The one that holds the editor plugin.
const WITH_EDITOR: &str = "network-manager-adit";

/// What they are called.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    PACKAGES.iter().map(|(name, _)| *name)
}

/// Builds our programs as they are shipped, and packs them; or checks how they are packed.
///
/// # Errors
/// Wrong arguments, a build that failed, or a file that a package lacks.
pub(crate) fn package(arguments: &[String]) -> Result<(), String> {
    let out = match arguments {
        [] => target().join("package"),
        [option, folder] if option == "--out" => PathBuf::from(folder),
        [option] if option == "--check" => return check::check(),
        _ => return Err(USAGE.into()),
    };
    // Before the names of folders: what is fetched by then has one.
    run(cargo().args(["fetch", "--quiet", "--locked"]))?;
    build(&["--release", "--locked"], &paths::of_this_machine()?)?;
    for package in packages(&target().join("release"), &out, &names().collect::<Vec<_>>(), Pressed::Small)? {
        println!("{}", package.display());
    }
    Ok(())
}

/// Builds our programs.
fn build(options: &[&str], folders: &[(String, String)]) -> Result<(), String> {
    let mut command = cargo();
    command.arg("build").args(options);
    paths::replace(&mut command, folders);
    for (package, program) in PACKAGES.iter().flat_map(|(_, programs)| *programs) {
        command.args(["-p", package, "--bin", program]);
    }
    run(&mut command)
}

/// How a package is compressed.
#[derive(Clone, Copy)]
pub(crate) enum Pressed {
    /// As it is shipped.
    Small,
    /// For a test: a development build's programs are a hundred megabytes.
    Soon,
}

impl Pressed {
    const fn level(self) -> &'static str {
        match self {
            Self::Small => "-z6",
            Self::Soon => "-z0",
        }
    }
}

/// Makes the packages of these names from the programs of `programs`, in `out`; where they are. The daemon's programs have to be
/// there for each.
///
/// # Errors
/// A program or file that a package lacks, or what dpkg-deb says.
pub(crate) fn packages(
    programs: &Path,
    out: &Path,
    names: &[&str],
    pressed: Pressed,
) -> Result<Vec<PathBuf>, String> {
    fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let made = out.join("made");
    make(programs, &made)?;
    if names.contains(&WITH_EDITOR) {
        editor::build(&made)?;
    }
    let folders = tree::Folders { programs, made: &made, packaging: &root().join("packaging") };
    let done = names.iter().map(|name| pack(name, &folders, out, pressed)).collect();
    fs::remove_dir_all(&made).map_err(|e| format!("{}: {e}", made.display()))?;
    done
}

/// What is generated: completions, man pages, the copyright and the lists of changes.
fn make(programs: &Path, made: &Path) -> Result<(), String> {
    let _ = fs::remove_dir_all(made);
    for part in ["completions", "man1", "man5", "man7", "man8"] {
        let part = made.join(part);
        fs::create_dir_all(&part).map_err(|e| format!("{}: {e}", part.display()))?;
    }
    let ctl = programs.join("ctl");
    for shell in ["bash", "zsh", "fish"] {
        let text = output(Command::new(&ctl).args(["completions", shell]))?;
        write(&made.join("completions").join(format!("ctl.{shell}")), &text)?;
    }
    run(Command::new(&ctl).arg("manpages").arg(made.join("man1")))?;
    pages(programs, made)?;
    for folder in ["man1", "man5", "man7", "man8"] {
        for page in tree::entries(&made.join(folder))? {
            run(Command::new("gzip").arg("-9n").arg(page))?;
        }
    }
    write(&made.join("copyright"), &copyright()?)?;
    let changes = made.join("CHANGELOG.md");
    fs::copy(root().join("CHANGELOG.md"), &changes).map_err(|e| format!("CHANGELOG.md: {e}"))?;
    run(Command::new("gzip").arg("-9n").arg(changes))?;
    names().try_for_each(|name| {
        let changes = made.join(format!("{name}.changelog"));
        write(&changes, &debian_changes(name)?)?;
        run(Command::new("gzip").arg("-9n").arg(changes))
    })
}

/// The man pages that are written in Markdown.
fn pages(programs: &Path, made: &Path) -> Result<(), String> {
    let (man, docs) = (root().join("packaging/man"), root().join("docs"));
    let sources = [
        (man.join("aditd.8.md"), "aditd", "8"),
        (man.join("adit.7.md"), "adit", "7"),
        (docs.join("profiles.md"), "adit-profiles", "5"),
    ];
    for (source, name, section) in sources {
        let text = fs::read_to_string(&source).map_err(|e| format!("{}: {e}", source.display()))?;
        let page = manual::page(name, section, &text);
        write(&made.join(format!("man{section}/{name}.{section}")), &page)?;
    }
    // A page that does not know an option misleads.
    let told = output(Command::new(programs.join("aditd")).arg("--help"))?;
    let page = fs::read_to_string(man.join("aditd.8.md")).unwrap_or_default();
    let options = told.split_whitespace().filter(|word| word.starts_with("--"));
    let missing: Vec<&str> = options.filter(|option| !page.contains(&format!("`{option}`"))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("packaging/man/aditd.8.md says nothing of {}", missing.join(", ")))
}

/// The form that Debian's tools read; people read CHANGELOG.md.
fn debian_changes(name: &str) -> Result<String, String> {
    let date = output(
        Command::new("date").args(["-u", "-R", "-d"]).arg(format!("@{}", epoch())).env("LC_ALL", "C"),
    )?;
    let file = root().join("packaging/debian").join(name).join("control");
    let control = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: ")).unwrap_or_default();
    Ok(format!(
        "{name} ({}) unstable; urgency=medium\n\n  * See /usr/share/doc/aditd/CHANGELOG.md.gz.\n\n -- {maintainer}  {}\n",
        version()?,
        date.trim()
    ))
}

fn copyright() -> Result<String, String> {
    let read = |name: &str| fs::read_to_string(root().join(name)).map_err(|e| format!("{name}: {e}"));
    let indented = |text: &str| {
        let line = |line: &str| if line.trim().is_empty() { " .\n".to_owned() } else { format!(" {line}\n") };
        text.lines().map(line).collect::<String>()
    };
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: Adit\n\n\
         Files: *\nCopyright: the authors of Adit\nLicense: Apache-2.0 or Expat\n\n\
         License: Apache-2.0\n On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.\n\n\
         License: Expat\n{}",
        indented(&read("LICENSE-MIT")?)
    ))
}

/// One package.
fn pack(name: &str, folders: &tree::Folders<'_>, out: &Path, pressed: Pressed) -> Result<PathBuf, String> {
    let tree = out.join(format!("tree-{name}"));
    let _ = fs::remove_dir_all(&tree);
    let described = folders.packaging.join("debian").join(name);
    tree::lay_out(&described.join("install"), folders, &tree)?;
    let version = version()?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let control =
        fs::read_to_string(described.join("control")).map_err(|e| format!("{name}/control: {e}"))?;
    let control = control
        .replace("@VERSION@", &version)
        .replace("@ARCHITECTURE@", &architecture)
        .replace("@SIZE@", &tree::kibibytes(&tree)?.to_string())
        .replace("@LIBRARIES@", &tree::libraries(&tree)?);
    let debian = tree.join("DEBIAN");
    fs::create_dir_all(&debian).map_err(|e| format!("{}: {e}", debian.display()))?;
    write(&debian.join("md5sums"), &tree::sums(&tree)?)?;
    write(&debian.join("control"), &control)?;
    for script in ["postinst", "prerm", "postrm"] {
        let from = described.join(script);
        if from.is_file() {
            tree::place(&from, &debian.join(script), "0755")?;
        }
    }
    let package = out.join(format!("{name}_{version}_{architecture}.deb"));
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", pressed.level(), "--build"]).arg(&tree).arg(&package);
    output(command.env("SOURCE_DATE_EPOCH", epoch()))?;
    fs::remove_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
    Ok(package)
}

/// The workspace's version, as cargo knows it.
fn version() -> Result<String, String> {
    let file = root().join("Cargo.toml");
    let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let value: toml::Table = toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let version = value.get("workspace").and_then(|table| table.get("package")?.get("version")?.as_str());
    version.map(str::to_owned).ok_or_else(|| "Cargo.toml has no workspace.package.version".to_owned())
}

/// When what is packed was written last: the last commit; a tree without git counts from the epoch's day.
fn epoch() -> String {
    let time = output(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]));
    time.map_or_else(|_| "86400".to_owned(), |time| time.trim().to_owned())
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|e| format!("{}: {e}", file.display()))
}
