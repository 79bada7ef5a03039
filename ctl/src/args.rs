use std::ffi::OsString;
use std::path::PathBuf;

use adit_import::{EXPORTED, Format, Weakening};
use clap::builder::PossibleValuesParser;
use clap::{Args, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Raise, watch and take down VPN tunnels.
///
/// The daemon aditd does the work and Linux carries the packets; ctl asks. A connection is a profile in
/// /etc/adit/profiles, and `ctl up NAME` raises it.
#[derive(Parser, Debug)]
#[command(name = "ctl", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    #[command(flatten)]
    pub(crate) all: All,
}

/// What holds for every command.
#[derive(Args, Debug)]
pub(crate) struct All {
    /// Print JSON, with a schema number, instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// When to use colours; never under NO_COLOR unless `always`
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: When,

    /// How to reach aditd: the system bus, its private socket, or whichever is there
    #[arg(long, global = true, value_name = "BUS", default_value = "auto")]
    pub(crate) bus: BusChoice,
}

impl Cli {
    /// What was typed. Who has typed something else is told so, and that is the end.
    pub(crate) fn read() -> Self {
        let typed: Vec<OsString> = std::env::args_os().collect();
        Self::of_one(&typed).unwrap_or_else(Self::parse)
    }

    /// The same by the one command that was typed: each of all thirty would get a copy of what holds for every one. That was a third
    /// of all instructions before ctl's first word to the daemon (1,274,000, by callgrind). `None`: nothing that could be done.
    fn of_one(typed: &[OsString]) -> Option<Self> {
        let all = Command::augment_subcommands(clap::Command::new("ctl"));
        let one = all.find_subcommand(typed.get(1)?)?.clone();
        let matches = All::augment_args(clap::Command::new("ctl")).subcommand(one);
        Self::from_arg_matches(&matches.try_get_matches_from(typed).ok()?).ok()
    }
}

/// When to use colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to reach the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum BusChoice {
    /// The private socket for root and the group adit, whom no crowd on the bus keeps waiting there; else the system bus.
    Auto,
    /// The system bus.
    System,
    /// The private socket.
    Private,
}

// The arguments of the command that was given alone are put together: it is a sixth of what ctl takes to start.
#[derive(Subcommand, Debug)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Raise a connection
    ///
    /// Shows each step, and ends when the connection is up or has failed. Ctrl-C takes it down again.
    Up(Up),
    /// Take a connection down
    Down(Down),
    /// Replace a connection's keys now
    ///
    /// Traffic goes on meanwhile. Keys are replaced by themselves as well: see rekey-ike and rekey-child in a profile.
    Rekey(Rekey),
    /// Show what is connected
    ///
    /// Without a name a line each, in stable columns; with a name everything about it.
    Status {
        /// A profile's name; on a server a client's [[connection]], identity or address in the tunnel
        name: Option<String>,

        /// Stay, and show it anew as it changes, until Ctrl-C: on a terminal each second
        #[arg(long, requires = "name")]
        watch: bool,
    },
    /// List the profiles
    List,
    /// Show a profile, without its secrets, and what holds where it is silent
    Show {
        /// The profile's name
        name: String,
    },
    /// Make a profile for a server, and find out the rest
    ///
    /// Asks the server by IKEv2, SSTP and PPTP, and with a pre-shared key by L2TP/IPsec, without logging in, shows what was found, and writes a profile of what
    /// answers: a name and a password are what it logs in with. Where nothing comes as far as that, nothing is written.
    Add(Add),
    /// Make a profile of one that another program had
    ///
    /// Reads keyfiles of NetworkManager (strongswan, l2tp, sstp, pptp), .mobileconfig, .sswan, rasphone.pbk, ProfileXML,
    /// swanctl.conf and ipsec.conf, and says what was carried over, what was not, and what would weaken. A path that
    /// stands in the profile is never opened: name the certificates and keys that belong to it, too.
    Import(Import),
    /// Print a profile as another program takes it
    ///
    /// With --from-networkmanager, the profile that a connection of NetworkManager's is. What the other format cannot hold is told on standard error. Secrets go out only with --secrets.
    Export(Export),
    /// Check profiles that need not be among aditd's, without a daemon
    ///
    /// A file called server.toml is checked as that. The exit status is 17 if one has a mistake.
    Check {
        /// Profiles
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Edit a profile, and save only what is valid
    ///
    /// Opens the editor of VISUAL or EDITOR. Mistakes are shown; until there are none the profile stays as it is. What it
    /// was before is kept beside it, as NAME.toml.before.
    Edit {
        /// The profile's name
        name: String,

        #[command(flatten)]
        folder: Folder,
    },
    /// Delete a profile, and the files of /etc/adit that only it has
    Delete {
        /// The profile's name
        name: String,

        #[command(flatten)]
        folder: Folder,
    },
    /// Put the password of a profile into /etc/adit/secrets
    ///
    /// Asks for it at the terminal, twice. Where the profile says nothing of a password-file, it does from then on. Only root and the
    /// daemon can read what is kept; systemd-creds seals one with the machine's key: see adit-profiles(5).
    Password(Password),
    /// Answer what connections ask for, as a person's own
    ///
    /// Looks into the keyring of the session (the Secret Service) first; else asks at its terminal, or without one by systemd's
    /// password agents of the session and a notification. What was typed is kept in the keyring once the connection is up;
    /// one-time codes and PINs never are. Failures are told by notifications. It is meant to run as a user unit: systemctl --user
    /// enable --now adit-agent.
    Agent(Agent),
    /// Show what happens, as it happens
    Monitor,
    /// Wait until a connection is up, or down
    ///
    /// Raises nothing. With --until up (the default) it ends with 0 when the connection is up, with the failure's exit
    /// status when it has failed, and with 4 when somebody takes it down; one that nobody has raised yet is waited for.
    /// With --until down it ends with 0 when nothing of the connection is up, also where it has failed. When the time of
    /// --timeout has passed, the exit status is 3.
    Wait(Wait),
    /// Show what happened to a connection lately
    ///
    /// Its steps, its states, and its failures with what the peer said, from when aditd started, also of a connection that
    /// is gone. `journalctl -u aditd` has what is older.
    Log(Log),
    /// Read the profiles and server.toml again, and carry out what changed
    ///
    /// A server's clients stay in, but those of a [[connection]] or pool that is gone or is another. A file with a mistake
    /// changes nothing.
    Reload,
    /// Check what Adit needs of this host, and say what to type
    ///
    /// With a profile's name, that profile against its servers as they are now, without logging in: names, each type of
    /// tunnel up to where it would log in, the server's certificate, the longest packet that gets through, and what this
    /// host needs for it; of a connection that is up, its DNS servers. The exit status is 1 if a check failed.
    Doctor {
        /// A profile's name
        name: Option<String>,
    },
    /// Put everything that a report of a defect needs into one text
    ///
    /// Versions, the kernel, what `ctl doctor` says, profiles, connections and what happened to them, interfaces, routes,
    /// rules, IPsec policies and states, and the daemon's log. Secrets and keys are never in it. Names and addresses are
    /// replaced by tokens, the same one by the same token; read it all the same before you send it to somebody.
    Bugreport(Bugreport),
    /// List the exit statuses
    #[command(after_long_help = crate::exit::table())]
    ExitCodes,
    /// Write docs/errors.md: every failure, what it means, and what to look at
    #[command(hide = true)]
    ErrorsPage,
    /// Write the man pages to a directory
    #[command(hide = true)]
    Manpages {
        /// Where to
        directory: PathBuf,
    },
    /// Write a shell's completions
    #[command(hide = true)]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Up {
    /// The profile's name; with --file, what to call it (default: the file's name)
    #[arg(required_unless_present = "file")]
    pub(crate) name: Option<String>,

    /// Raise this profile, which need not be among aditd's: ctl reads it and hands over its content. `-` is standard
    /// input
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,

    /// Read what the connection asks for from this descriptor, a line for each question, instead of asking at the
    /// terminal
    #[arg(long, value_name = "N")]
    pub(crate) password_fd: Option<u32>,

    /// Need no daemon and no bus: start a daemon for this connection alone, and stay until it is down. Ctrl-C takes it down
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) foreground: bool,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct Password {
    /// The profile's name
    pub(crate) name: String,

    /// Read it from the first line of this descriptor, instead of asking at the terminal
    #[arg(long, value_name = "N")]
    pub(crate) password_fd: Option<u32>,

    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Args, Debug)]
pub(crate) struct Agent {
    /// Look for nothing in the keyring, and keep nothing there
    #[arg(long)]
    pub(crate) no_keyring: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Folder {
    /// Where profiles are
    #[arg(long, value_name = "DIR", default_value = "/etc/adit", hide = true)]
    pub(crate) config: PathBuf,
}

impl Folder {
    /// The file of the profile of that name.
    pub(crate) fn profile(&self, name: impl std::fmt::Display) -> PathBuf {
        self.config.join("profiles").join(format!("{name}.toml"))
    }
}

#[derive(Args, Debug)]
pub(crate) struct Add {
    /// The server's name or address; with a port where it is another: vpn.example.com:4500
    pub(crate) server: String,

    /// Who you are there
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,

    /// How to call the profile; by default as the server's name begins
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// A file in /etc/adit/certs with the authority of the server's certificate; several with commas. By default those
    /// that this host trusts
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) ca: Vec<String>,

    /// A file in /etc/adit/secrets with the pre-shared key that a server of L2TP/IPsec has for all: it is asked by L2TP, too
    #[arg(long, value_name = "FILE")]
    pub(crate) psk_file: Option<String>,

    /// Take PPTP too, and L2TP with that key: their servers prove nothing before the password's proof leaves
    #[arg(long)]
    pub(crate) weak: bool,

    /// Print what would be written, and write nothing
    #[arg(long)]
    pub(crate) print: bool,

    /// Replace a profile of that name
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The profile, and the certificates and keys that belong to it; `-` is standard input
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// The profile's format, where its content does not tell it
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(Format::ALL.iter().map(|f| f.as_str())))]
    pub(crate) format: Option<String>,

    /// How to call it; by default as the file does
    #[arg(long)]
    pub(crate) name: Option<String>,

    /// The one connection of the file that is wanted, as the file calls it; by default all of them
    #[arg(long, value_name = "CONNECTION")]
    pub(crate) entry: Option<String>,

    /// Who you are, where the file does not say it
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// A file with the pre-shared key on one line, where the profile does not hold it
    #[arg(long, value_name = "FILE")]
    pub(crate) psk_file: Option<PathBuf>,

    /// Take over what weakens; several with commas
    #[arg(long, value_name = "WEAKENING", value_delimiter = ',', value_parser = PossibleValuesParser::new(Weakening::acceptable().map(Weakening::as_str)))]
    pub(crate) accept: Vec<String>,

    /// Print what would be written, without its secrets, and write nothing
    #[arg(long)]
    pub(crate) print: bool,

    /// Print it as a connection of NetworkManager's (a keyfile), with its passwords and pre-shared keys, and make no profile. A profile of
    /// Adit's own and a keyfile of a connection of the type adit are taken, too
    #[arg(long, conflicts_with_all = ["print", "replace"])]
    pub(crate) to_networkmanager: bool,

    /// Where the certificates and keys of that connection are put
    #[arg(long, value_name = "DIR", requires = "to_networkmanager")]
    pub(crate) files_to: Option<PathBuf>,

    /// Replace a profile of that name
    #[arg(long)]
    pub(crate) replace: bool,

    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The profile's name
    #[arg(required_unless_present = "from_networkmanager")]
    pub(crate) name: Option<String>,

    /// The format
    #[arg(long, value_name = "FORMAT", required_unless_present = "from_networkmanager", value_parser = PossibleValuesParser::new(EXPORTED.iter().map(|f| f.as_str())))]
    pub(crate) format: Option<String>,

    /// Print the profile that a connection of NetworkManager's of the type adit is: its keyfile, without secrets; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "format", "secrets"])]
    pub(crate) from_networkmanager: Option<PathBuf>,

    /// Put passwords, pre-shared keys and private keys into it
    #[arg(long)]
    pub(crate) secrets: bool,

    #[command(flatten)]
    pub(crate) folder: Folder,
}

#[derive(Args, Debug)]
pub(crate) struct Down {
    /// A profile's name; on a server a client's [[connection]], identity or address in the tunnel
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct Rekey {
    /// A profile's name; on a server a client's [[connection]], identity or address in the tunnel
    pub(crate) name: String,

    /// Whose keys
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = Which::All)]
    pub(crate) only: Which,

    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

#[derive(Args, Debug)]
pub(crate) struct Wait {
    /// A profile's name; on a server a client's [[connection]], identity or address in the tunnel
    pub(crate) name: String,

    /// What for
    #[arg(long, value_name = "STATE", value_enum, default_value_t = Until::Up)]
    pub(crate) until: Until,

    /// How long to wait, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) timeout: u32,
}

/// What is waited for.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Until {
    /// Connected
    Up,
    /// Neither connected nor on its way
    Down,
}

#[derive(Args, Debug)]
pub(crate) struct Log {
    /// A profile's name; on a server a [[connection]]'s
    pub(crate) name: String,

    /// How many lines, the newest last
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 200)]
    pub(crate) lines: usize,

    /// Go on with what happens, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Bugreport {
    /// Leave names and addresses as they are
    #[arg(long)]
    pub(crate) with_names: bool,
}

/// Whose keys are replaced.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// The IKE_SA's and every CHILD_SA's
    All,
    /// The IKE_SA's
    Ike,
    /// Every CHILD_SA's
    Child,
}

#[derive(Args, Debug)]
pub(crate) struct Waiting {
    /// Wait for the end (the default)
    #[arg(long, overrides_with = "no_wait")]
    pub(crate) wait: bool,

    /// Only begin; do not wait for the end
    #[arg(long, overrides_with = "wait")]
    pub(crate) no_wait: bool,

    /// How long to wait, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) timeout: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_last_of_wait_and_no_wait_counts() {
        let waits = |args: &[&str]| match Cli::try_parse_from(args).unwrap().command {
            Command::Up(up) => !up.waiting.no_wait,
            other => panic!("{other:?}"),
        };
        assert!(waits(&["ctl", "up", "corp"]));
        assert!(!waits(&["ctl", "up", "corp", "--wait", "--no-wait"]));
        assert!(waits(&["ctl", "up", "--no-wait", "corp", "--wait"]));
    }

    #[test]
    fn one_command_is_read_as_among_all() {
        for typed in [
            "ctl up corp --timeout 7 --json",
            "ctl down corp --no-wait --bus private",
            "ctl status",
            "ctl status corp --watch --color never",
            "ctl list --json",
        ] {
            let typed: Vec<OsString> = typed.split(' ').map(Into::into).collect();
            let (one, all) = (Cli::of_one(&typed).unwrap(), Cli::try_parse_from(&typed).unwrap());
            assert_eq!(format!("{one:?}"), format!("{all:?}"));
        }
        // What is wrong, and what is asked of all, is told by all.
        for typed in ["ctl", "ctl up", "ctl up --help", "ctl --json list", "ctl help up", "ctl -V", "ctl ip"]
        {
            let typed: Vec<OsString> = typed.split(' ').map(Into::into).collect();
            assert!(Cli::of_one(&typed).is_none(), "{typed:?}");
        }
    }

    #[test]
    fn up_needs_a_name_or_a_file() {
        assert!(Cli::try_parse_from(["ctl", "up"]).is_err());
        assert!(Cli::try_parse_from(["ctl", "up", "--file", "x.toml"]).is_ok());
        assert!(Cli::try_parse_from(["ctl", "up", "x", "--timeout", "0"]).is_err());
    }
}
