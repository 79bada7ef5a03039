//! nftables through its own program: the only stable interface that it has for whole tables.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::HostError;

const PROGRAMS: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"];

/// Where the program is, if it is there.
pub(super) fn program() -> Option<&'static str> {
    PROGRAMS.into_iter().find(|p| Path::new(p).exists())
}

/// Puts a table there, in place of one of that name, in one transaction.
pub(super) async fn replace(table: &str, body: &str) -> Result<(), HostError> {
    run(
        table,
        &format!("table inet {table} {{}}\ndelete table inet {table}\ntable inet {table} {{\n{body}}}\n"),
    )
    .await
}

/// Removes a table, if it is there.
pub(super) async fn remove(table: &str) -> Result<(), HostError> {
    run(table, &format!("table inet {table} {{}}\ndelete table inet {table}\n")).await
}

async fn run(table: &str, script: &str) -> Result<(), HostError> {
    let named_well = table.starts_with("adit-")
        && table.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !named_well {
        return Err(HostError::Invalid(format!("\"{table}\" is not a table of ours")));
    }
    let program = program().ok_or(HostError::NoNft)?;
    let file = |why| HostError::File { what: program.into(), why };
    let mut child = Command::new(program)
        .args(["-f", "-"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(file)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).await.map_err(file)?;
    }
    let output = child.wait_with_output().await.map_err(file)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|l| l.contains("Error") || l.contains("error")).unwrap_or("no reason given");
    Err(HostError::Nft { table: table.into(), said: said.trim().into() })
}
