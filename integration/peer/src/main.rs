//! `adit-peer FILE`: an IKEv2 initiator that does what a peer does which the lab can't run: Windows, Apple's, Android.
//!
//! It makes exactly the offer of its file, follows COOKIE and INVALID_KE_PAYLOAD as that peer does, checks the answers, says
//! what was agreed a line each, and `up`. Then it answers until SIGTERM, or until the server deletes the IKE_SA. It is built
//! on the payload codec and the key derivation alone, not on Adit's IKEv2.
//!
//! `adit-peer --ikev1 FILE` is something else: Adit's own IKEv1 on real sockets, both roles (`ikev1`).

mod auth;
mod channel;
mod child;
mod dhcp;
mod ikev1;
mod initial;
mod install;
mod script;
mod words;

use std::{path::Path, process::ExitCode};

use adit_crypto::Provider;
use adit_isakmp::{ExchangeType, Payload, payload::Delete};
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

use crate::{
    channel::{Channel, Heard},
    script::Script,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    let done = match first.as_str() {
        "--ikev1" => {
            let file = arguments.next().unwrap_or_default();
            ended().and_then(|end| ikev1::run(Path::new(&file), &end))
        }
        file => run(Path::new(file)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> Result<(), String> {
    let script = Script::read(file)?;
    let end = ended()?;
    let crypto = Provider::new();
    let mut channel = Channel::open(script.server, words::notify(&script.refuses_rekeys_with)?)?;
    connect(&script, &crypto, &mut channel)?;
    println!("up");
    loop {
        if matches!(end.read_signal(), Ok(Some(_))) {
            channel.exchange(ExchangeType::INFORMATIONAL, &[Payload::Delete(Delete::Ike)])?;
            println!("down");
            return Ok(());
        }
        if channel.listen()? == Heard::Deleted {
            println!("the server deleted the IKE_SA");
            return Ok(());
        }
    }
}

/// What tells of SIGTERM.
fn ended() -> Result<SignalFd, String> {
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block().map_err(|e| e.to_string())?;
    SignalFd::with_flags(&end, SfdFlags::SFD_NONBLOCK).map_err(|e| e.to_string())
}

fn connect(script: &Script, crypto: &Provider, channel: &mut Channel) -> Result<(), String> {
    let covered = initial::exchange(script, crypto, channel)?;
    let (child, addresses) = auth::exchange(script, crypto, channel, &covered)?;
    for address in &addresses {
        println!("address: {address}");
    }
    println!("TSi: {:?}\nTSr: {:?}", child.local, child.remote);
    let ends = channel.ends()?;
    if script.install {
        install::states(ends, &child)?;
        install::policies(ends, &child, &addresses)?;
    }
    if script.dhcp_inform {
        for address in &addresses {
            if let std::net::IpAddr::V4(address) = address {
                dhcp::ask(*address, &install::device_to(script.server)?)?;
            }
        }
    }
    if let Some(proposals) = &script.rekey_child {
        let new = child::rekey(script, crypto, channel, &child, proposals)?;
        if script.install {
            install::states(ends, &new)?;
        }
        child::delete(channel, &child)?;
        if script.install {
            install::remove(ends, &child)?;
        }
        println!("CHILD_SA rekeyed: {}", new.suite);
    }
    if let Some(proposals) = &script.rekey_ike {
        child::rekey_ike(crypto, channel, proposals)?;
    }
    Ok(())
}
