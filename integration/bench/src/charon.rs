//! strongSwan's charon for comparison, with its load-tester plugin's own configuration and its stand-in for a kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::load::Target;
use crate::process::Measured;

/// Starts one in `folder`. It listens a moment later: the first message is sent again until it does.
///
/// # Errors
/// It cannot be started.
pub fn start(program: &Path, folder: &Path, target: &Target) -> anyhow::Result<Measured> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let file = folder.join("strongswan.conf");
    fs::write(&file, configuration(target))?;
    let mut command = Command::new(program);
    command.env("STRONGSWAN_CONF", &file);
    Measured::start(&mut command, &folder.join("log"))
}

/// The same proposals, key and names as ours; no addresses to give out, for which it would need one plugin more. No
/// limit on half-open IKE_SAs: they all come from one address. No log.
fn configuration(target: &Target) -> String {
    let Target { remote_id, domain, ike, esp, server, .. } = target;
    let psk = target.psk();
    let (port, nat_port) = (server.port(), server.port().saturating_add(4000));
    format!(
        "\
charon {{
  load = openssl nonce random kdf hmac socket-default load-tester kernel-netlink
  port = {port}
  port_nat_t = {nat_port}
  dos_protection = no
  syslog {{
    daemon {{ default = -1 }}
    auth {{ default = -1 }}
  }}
  plugins {{
    load-tester {{
      enable = yes
      fake_kernel = yes
      initiators = 0
      initiator_auth = psk
      responder_auth = psk
      preshared_key = \"{psk}\"
      proposal = {ike}
      esp = {esp}
      responder_id = {remote_id}
      initiator_id = c%d-r%d@{domain}
      initiator_match = *@{domain}
      dpd_delay = 0
    }}
  }}
}}
"
    )
}
