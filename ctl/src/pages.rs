use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit;

/// Writes `ctl.1` and a page a command, with the exit statuses in the first.
pub(crate) fn manpages(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut command = Cli::command();
    command.build();
    std::fs::write(directory.join("ctl.1"), main_page(&command)?)?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let name = format!("ctl-{}", sub.get_name());
        let mut page = Vec::new();
        clap_mangen::Man::new(sub.clone()).title(name.to_uppercase()).render(&mut page)?;
        std::fs::write(directory.join(format!("{name}.1")), page)?;
    }
    Ok(())
}

fn main_page(command: &clap::Command) -> io::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    man.render_subcommands_section(&mut page)?;
    let mut extra =
        String::from(".SH \"EXIT STATUS\"\nUp to 10 the numbers are those of \\fBnmcli\\fR(1).\n");
    for (status, meaning) in exit::TABLE {
        extra.push_str(&format!(".TP\n.B {}\n{}\n", status.0, roff(meaning)));
    }
    extra.push_str(
        ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nIf set and not empty, no colours unless \\-\\-color always.\n",
    );
    extra.push_str(".TP\n.B ADIT_SOCKET\nAnother private socket than /run/adit/aditd.sock; it is then preferred to the bus.\n");
    extra.push_str(".SH FILES\n.TP\n.I /etc/adit/profiles/NAME.toml\nProfiles.\n");
    extra.push_str(".TP\n.I /run/adit/aditd.sock\nThe private socket of aditd.\n");
    page.extend_from_slice(extra.as_bytes());
    man.render_version_section(&mut page)?;
    Ok(page)
}

fn roff(text: &str) -> String {
    text.replace('\\', "\\\\").replace('-', "\\-")
}

/// A shell's completions.
pub(crate) fn completions(shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ctl", &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_every_command_and_status() {
        let directory = tempfile::tempdir().unwrap();
        manpages(directory.path()).unwrap();
        let main = std::fs::read_to_string(directory.path().join("ctl.1")).unwrap();
        for (status, _) in exit::TABLE {
            assert!(main.contains(&format!(".B {}\n", status.0)));
        }
        for name in [
            "up",
            "down",
            "status",
            "list",
            "show",
            "monitor",
            "add",
            "wait",
            "log",
            "bugreport",
            "doctor",
            "exit-codes",
        ] {
            let page = std::fs::read_to_string(directory.path().join(format!("ctl-{name}.1"))).unwrap();
            assert!(page.contains(".SH NAME"), "{name}");
        }
        assert!(!directory.path().join("ctl-manpages.1").exists());
    }

    #[test]
    fn completions_know_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            assert!(String::from_utf8(completions(shell)).unwrap().contains("doctor"));
        }
    }
}
