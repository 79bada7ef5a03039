//! `nm-adit-service`, which NetworkManager starts for each connection: `nm-adit-service --bus-name NAME`.

use std::process::ExitCode;

use adit_nm::service;
use tracing::level_filters::LevelFilter;

/// What every name begins with that NetworkManager gives.
const PREFIX: &str = "org.freedesktop.NetworkManager.adit";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--bus-name", name] if name.starts_with(PREFIX) => serve(name),
        ["--read", file] => match service::show(file) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: nm-adit-service --bus-name {PREFIX}.Connection_N   (NetworkManager starts it)");
            ExitCode::from(2)
        }
    }
}

fn serve(name: &str) -> ExitCode {
    // It goes to where NetworkManager's own log goes, which has the time.
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level())
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("nm-adit-service: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(service::run(name)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nm-adit-service: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As NetworkManager logs: a number of syslog's.
fn level() -> LevelFilter {
    let number = std::env::var("NM_VPN_LOG_LEVEL").ok().and_then(|level| level.parse::<u32>().ok());
    match number {
        Some(0..=3) => LevelFilter::ERROR,
        Some(4) => LevelFilter::WARN,
        Some(7..) => LevelFilter::DEBUG,
        _ => LevelFilter::INFO,
    }
}
