//! `aditd-record`: the daemon, real but for its doors to the kernel, which agree to everything and carry nothing. For load
//! tests of the control plane on machines whose kernel has no IPsec. It is not packaged, and `aditd` has none of it.

use std::process::ExitCode;
use std::sync::Arc;

use adit_crypto::Provider;
use adit_service::daemon::Doors;
use adit_service::host::RecordingHost;
use adit_xfrm_kernel::RecordingXfrm;

fn main() -> ExitCode {
    adit_service::main(|| {
        eprintln!("aditd-record: nothing reaches the kernel: tunnels that come up here carry no packet");
        Ok(Doors {
            xfrm: Arc::new(RecordingXfrm::forgetful()),
            host: Arc::new(RecordingHost::default()),
            crypto: Arc::new(Provider::new()),
        })
    })
}
