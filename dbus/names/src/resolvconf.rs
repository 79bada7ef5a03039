//! resolvconf: Debian's, and openresolv, which has more options and is called in the same way.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::file::lines_of;
use crate::{Names, Place};

/// Search path of resolvconf and of what it starts.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Where Debian's keeps the order of links: one that is not in it comes last.
const ORDER: &str = "/etc/resolvconf/interface-order";

/// Whether the file is written by resolvconf on this host.
pub(crate) fn writes(place: &Place) -> bool {
    let Some(_) = program(place) else { return false };
    let leads_there = fs::read_link(&place.resolv_conf)
        .is_ok_and(|target| target.components().any(|part| part.as_os_str() == "resolvconf"));
    let text = fs::read_to_string(&place.resolv_conf).unwrap_or_default();
    // openresolv's first line, and Debian's.
    let says_so = text.lines().take(3).any(|line| line.starts_with('#') && line.contains("by resolvconf"));
    leads_there || says_so
}

/// systemd-resolved has one of that name, too.
fn program(place: &Place) -> Option<&Path> {
    let is_it = |path: &&PathBuf| {
        fs::canonicalize(path).is_ok_and(|real| real.file_name().is_some_and(|name| name != "resolvectl"))
    };
    place.resolvconf.iter().find(is_it).map(PathBuf::as_path)
}

/// # Errors
/// resolvconf is gone, or says that it has failed.
pub(crate) fn set(place: &Place, names: &Names) -> io::Result<()> {
    let mut arguments = vec!["-a".to_owned(), record(&names.link), "-m".to_owned(), "0".to_owned()];
    if names.only {
        arguments.push("-x".to_owned());
    }
    run(place, &arguments, &lines_of(names))
}

/// # Errors
/// resolvconf says that it has failed. Where it is gone, nothing of it is left.
pub(crate) fn clear(place: &Place, link: &str) -> io::Result<()> {
    match program(place) {
        Some(_) => run(place, &["-d".to_owned(), record(link)], ""),
        None => Ok(()),
    }
}

/// The record's name. Debian's goes by the beginning of names: a tunnel's are in its order as `tun*`.
fn record(link: &str) -> String {
    let ordered = Path::new(ORDER).exists();
    if ordered { format!("tun.{link}.adit") } else { format!("{link}.adit") }
}

fn run(place: &Place, arguments: &[String], input: &str) -> io::Result<()> {
    let program = program(place).ok_or_else(|| io::Error::other("resolvconf is gone"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes())?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{}: {status}", program.display()))) }
}
