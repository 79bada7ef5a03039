//! `adit-names`: started by systemd for each request of the daemon, with the connection as its input and output.

use std::io::BufReader;
use std::process::ExitCode;

use adit_names::{Place, serve};

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        eprintln!("usage: adit-names   (a request comes by standard input)");
        return ExitCode::from(2);
    }
    let place = Place {
        resolv_conf: "/etc/resolv.conf".into(),
        state: "/var/lib/adit-names".into(),
        resolvconf: ["/usr/sbin/resolvconf", "/sbin/resolvconf", "/usr/bin/resolvconf"]
            .map(Into::into)
            .into(),
    };
    serve(BufReader::new(std::io::stdin().lock()), &mut std::io::stdout().lock(), &place);
    ExitCode::SUCCESS
}
