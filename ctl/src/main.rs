//! `ctl`, Adit's command line.

mod add;
mod agent;
mod args;
mod bugreport;
mod check;
mod connection;
mod delete;
mod desktop;
mod doctor;
mod down;
mod edit;
mod ended;
mod errors;
mod exit;
mod export;
mod foreground;
mod import;
mod interrupt;
mod json;
mod log;
mod monitor;
mod output;
mod pages;
mod password;
mod place;
mod profile_file;
mod read;
mod redact;
mod rekey;
mod reload;
mod render;
mod secret;
mod session;
mod steps;
mod up;
mod wait;
mod watch;

use std::process::ExitCode;

use adit_core::{Failure, FailureCode, Step};

use crate::args::{Cli, Command};
use crate::ended::Ended;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::read();
    let output = Output::new(cli.all.json, cli.all.color);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output.remark(&render::says::no_runtime(&error.to_string()));
            return ExitCode::from(exit::Status::UNKNOWN.0);
        }
    };
    let status = match runtime.block_on(run(&cli, output)) {
        Ok(()) => exit::Status::OK,
        Err(ended) => output.end(&ended),
    };
    ExitCode::from(status.0)
}

async fn run(cli: &Cli, output: Output) -> Result<(), Ended> {
    match &cli.command {
        Command::Up(args) => up::up(args, cli.all.bus, output).await,
        Command::Down(args) => down::down(args, cli.all.bus, output).await,
        Command::Rekey(args) => rekey::rekey(args, cli.all.bus, output).await,
        Command::Status { name: Some(name), watch: true } => watch::watch(name, cli.all.bus, output).await,
        Command::Status { name, .. } => read::status(name.as_deref(), cli.all.bus, output).await,
        Command::List => read::list(cli.all.bus, output).await,
        Command::Show { name } => read::show(name, cli.all.bus, output).await,
        Command::Add(args) => add::add(args, cli.all.bus, output).await,
        Command::Import(args) => import::import(args, cli.all.bus, output).await,
        Command::Export(args) => export::export(args, output),
        Command::Check { files } => check::check(files, output),
        Command::Edit { name, folder } => edit::edit(name, folder, cli.all.bus, output).await,
        Command::Delete { name, folder } => delete::delete(name, &folder.config, cli.all.bus, output).await,
        Command::Monitor => monitor::monitor(cli.all.bus, output).await,
        Command::Wait(args) => wait::wait(args, cli.all.bus, output).await,
        Command::Log(args) => log::log(args, cli.all.bus, output).await,
        Command::Password(args) => password::password(args, cli.all.bus, output).await,
        Command::Agent(args) => agent::agent(args, cli.all.bus, output).await,
        Command::Reload => reload::reload(cli.all.bus, output).await,
        Command::Bugreport(args) => bugreport::bugreport(args, cli.all.bus, output).await,
        Command::Doctor { name } => doctor::doctor(name.as_deref(), cli.all.bus, output).await,
        Command::ExitCodes => output.say(&exit::table()),
        Command::ErrorsPage => output.say(&errors::page()),
        Command::Manpages { directory } => pages::manpages(directory).map_err(|error| {
            let text = format!("{} cannot be written: {error}", directory.display());
            Ended::failed("", Failure::new(FailureCode::Internal, Step::Profile, text))
        }),
        Command::Completions { shell } => output.say(&String::from_utf8_lossy(&pages::completions(*shell))),
    }
}
