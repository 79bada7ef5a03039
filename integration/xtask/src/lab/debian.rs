//! Debian on the machine that runs the lab: the mirror that apt uses, and the packages that the lab calls.

use std::{fs, path::Path, process::Command};

use crate::shell::{has, is_root, output, run_logged};

/// What the setup calls, and the package that has it.
const PROGRAMS: [(&str, &str); 9] = [
    ("debootstrap", "debootstrap"),
    ("mke2fs", "e2fsprogs"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("unshare", "util-linux"),
    ("gzip", "gzip"),
    ("chroot", "coreutils"),
    ("depmod", "kmod"),
];

/// What the unit tests call.
const TEST_PROGRAMS: [(&str, &str); 7] = [
    ("eapol_test", "eapoltest"),
    ("freeradius", "freeradius"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("softhsm2-util", "softhsm2"),
    ("sysctl", "procps"),
    ("unshare", "util-linux"),
];

/// What builds a kernel.
const KERNEL_PROGRAMS: [(&str, &str); 7] = [
    ("bc", "bc"),
    ("bison", "bison"),
    ("depmod", "kmod"),
    ("flex", "flex"),
    ("gcc", "gcc"),
    ("make", "make"),
    ("xz", "xz-utils"),
];

/// Where Debian's packages come from, as this machine's apt knows it.
pub(crate) struct Mirror {
    /// Address of the archive.
    pub(crate) address: String,
    /// Keyring that its releases are signed with.
    pub(crate) keyring: String,
    /// apt's proxy as environment variables.
    pub(crate) proxy: Vec<(String, String)>,
}

/// The archive that this machine's apt takes its release from.
///
/// # Errors
/// That this is no Debian, or that apt has no archive.
pub(crate) fn mirror() -> Result<Mirror, String> {
    let codename = codename()?;
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format]))?;
    let address = targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (address, release, component) = (words.next()?, words.next()?, words.next()?);
        (release == codename && component == "main").then(|| address.to_owned())
    });
    let address = address
        .ok_or_else(|| format!("apt has no source for {codename} main: see /etc/apt/sources.list.d"))?;
    Ok(Mirror {
        address,
        keyring: "/usr/share/keyrings/debian-archive-keyring.gpg".to_owned(),
        proxy: proxy(),
    })
}

/// apt's proxy, for programs that read the environment.
pub(crate) fn proxy() -> Vec<(String, String)> {
    let value =
        output(Command::new("apt-config").args(["shell", "P", "Acquire::http::Proxy"])).unwrap_or_default();
    let value = value.trim().trim_start_matches("P=").trim_matches('\'').to_owned();
    if value.is_empty() { Vec::new() } else { vec![("http_proxy".to_owned(), value)] }
}

/// Installs what the setup and the VM call.
///
/// # Errors
/// That we are not root, or apt's own words.
pub(crate) fn host_packages(cache: &Path) -> Result<(), String> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !is_installed("busybox-static") && !missing.contains(&"busybox-static") {
        missing.push("busybox-static");
    }
    let qemu = !has("qemu-system-x86_64");
    if missing.is_empty() && !qemu {
        return Ok(());
    }
    if !is_root() {
        return Err("the lab must install packages and make a root file system: run it as root".to_owned());
    }
    println!("lab: installing {}{}", missing.join(" "), if qemu { " qemu-system-x86" } else { "" });
    let log = cache.join("packages.log");
    let own = Apt::with_own_lists(cache, &log)?;
    if !missing.is_empty() {
        own.install(&missing, None, &log)?;
    }
    if qemu {
        own.install(&["qemu-system-x86", "seabios"], own.backports.as_deref(), &log)?;
    }
    Ok(())
}

/// The package of a release's kernel, as a shell finds it with apt's options for arguments.
pub(crate) const KERNEL: &str = "$(apt-cache \"$@\" depends linux-image-amd64 | \
    sed -n 's/.*Depends: \\(linux-image-[0-9][^ ]*\\)$/\\1/p' | head -n 1)";

/// Fetches a package of a release into `folder`.
///
/// # Errors
/// apt's own words.
pub(crate) fn download(
    package: &str,
    release: &str,
    cache: &Path,
    folder: &Path,
    log: &Path,
) -> Result<(), String> {
    let apt = Apt::of_release(release, &cache.join(format!("apt-{release}")), log)?;
    let mut options = apt.options.clone();
    // The machine's own packages are of no interest, and may be of another release.
    options.push(format!("-oDir::Cache={}", cache.join(format!("apt-{release}")).display()));
    let script = format!("cd $1; shift; apt-get \"$@\" download {package}");
    let mut command = Command::new("sh");
    run_logged(command.args(["-ec", &script, "sh"]).arg(folder).args(options), log)
}

/// Installs what the unit tests call, where that is missing and we are root.
///
/// # Errors
/// What is missing and how to get it, or apt's own words.
pub(crate) fn test_packages(cache: &Path) -> Result<(), String> {
    packages("the tests call", &TEST_PROGRAMS, cache)
}

/// The same of what builds a kernel.
///
/// # Errors
/// What is missing and how to get it, or apt's own words.
pub(crate) fn kernel_packages(cache: &Path) -> Result<(), String> {
    packages("the build of a kernel calls", &KERNEL_PROGRAMS, cache)
}

/// The same of what the check of our packages calls.
///
/// # Errors
/// What is missing and how to get it, or apt's own words.
pub(crate) fn package_check_packages(cache: &Path) -> Result<(), String> {
    packages("the check of packages calls", &[("lintian", "lintian")], cache)
}

fn packages(who: &str, programs: &[(&str, &str)], cache: &Path) -> Result<(), String> {
    let missing: Vec<&str> =
        programs.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        return Err(format!("{who} programs that are not here: apt install {}", missing.join(" ")));
    }
    println!("installing {}", missing.join(" "));
    fs::create_dir_all(cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let log = cache.join("packages.log");
    Apt::with_own_lists(cache, &log)?.install(&missing, None, &log)
}

/// A shared busybox would find no libraries in the initrd, and which one is here only dpkg can tell.
fn is_installed(package: &str) -> bool {
    let status = output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]));
    status.is_ok_and(|status| status == "installed")
}

fn codename() -> Result<String, String> {
    let text = fs::read_to_string("/etc/os-release").map_err(|e| format!("/etc/os-release: {e}"))?;
    let value = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|v| v.trim_matches('"').to_owned())
    };
    match (value("ID").as_deref(), value("VERSION_CODENAME")) {
        (Some("debian"), Some(codename)) => Ok(codename),
        (id, _) => Err(format!(
            "the lab sets itself up on Debian 12 or 13; this is {}",
            id.unwrap_or("something else")
        )),
    }
}

/// apt with sources and lists of the lab's own, so that the machine's stay as they are.
struct Apt {
    options: Vec<String>,
    /// Suite with a qemu that fits the machine's other qemu packages.
    backports: Option<String>,
}

impl Apt {
    fn with_own_lists(cache: &Path, log: &Path) -> Result<Self, String> {
        Self::of_release(&codename()?, &cache.join("apt"), log)
    }

    fn of_release(codename: &str, folder: &Path, log: &Path) -> Result<Self, String> {
        for part in ["lists/partial", "parts"] {
            fs::create_dir_all(folder.join(part)).map_err(|e| format!("{}: {e}", folder.display()))?;
        }
        let mirror = mirror()?;
        let line = |address: &str, suite: &str| {
            format!("deb [signed-by={}] {address} {suite} main\n", mirror.keyring)
        };
        let mut sources =
            line(&mirror.address, codename) + &line(&mirror.address, &format!("{codename}-updates"));
        if let Some(security) = security(codename) {
            sources += &line(&security, &format!("{codename}-security"));
        }
        let backports = (codename == "bookworm").then(|| format!("{codename}-backports"));
        if let Some(suite) = &backports {
            sources += &line(&mirror.address, suite);
        }
        let list = folder.join("sources.list");
        fs::write(&list, sources).map_err(|e| format!("{}: {e}", list.display()))?;
        let options = vec![
            format!("-oDir::Etc::SourceList={}", list.display()),
            format!("-oDir::Etc::SourceParts={}", folder.join("parts").display()),
            format!("-oDir::State::Lists={}", folder.join("lists").display()),
            "-oDPkg::Lock::Timeout=300".to_owned(),
            "-oAcquire::Retries=3".to_owned(),
            // apt's own user may not enter the folder that the workspace is in.
            "-oAPT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self { options, backports };
        run_logged(apt.command().arg("update"), log)?;
        Ok(apt)
    }

    fn install(&self, packages: &[&str], suite: Option<&str>, log: &Path) -> Result<(), String> {
        let mut command = self.command();
        command.args(["install", "-y", "--no-install-recommends"]);
        if let Some(suite) = suite {
            command.args(["-t", suite]);
        }
        run_logged(command.args(packages), log)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.args(&self.options).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// The archive of security updates, where this machine has one.
fn security(codename: &str) -> Option<String> {
    let format = "$(REPO_URI) $(RELEASE)";
    let targets = output(Command::new("apt-get").args(["indextargets", "--format", format])).ok()?;
    let suite = format!("{codename}-security");
    targets.lines().find_map(|line| line.strip_suffix(&suite).map(|address| address.trim().to_owned()))
}
