//! One VM for a whole run: qemu with the stock kernel, the root as a snapshot, the stage as a 9p share.

use std::{
    fmt,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use super::{lab_folder, setup::Image, stage::Stage};

/// Longest silence of a VM that runs scenarios.
const SILENCE: Duration = Duration::from_mins(15);

/// What runs the guest's instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor itself.
    Kvm,
    /// qemu's translation.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "emulated (a probe boot under KVM did not succeed)",
        })
    }
}

impl Accelerator {
    /// KVM if a guest kernel boots under it within a few seconds. The answer is kept for this kernel.
    pub(crate) fn probe(image: &Image, cache: &Path) -> Self {
        if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
            return Self::Tcg;
        }
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kept = cache.join(format!("kvm-{}", release.trim()));
        let answer = fs::read_to_string(&kept).unwrap_or_else(|_| {
            let boots = Self::Kvm.boots(image);
            let answer = if boots { "yes" } else { "no" };
            let _ = fs::write(&kept, answer);
            answer.to_owned()
        });
        if answer == "yes" { Self::Kvm } else { Self::Tcg }
    }

    fn boots(self, image: &Image) -> bool {
        let mut command = qemu(self, image, "null", "lab.probe");
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return false };
        let said = lines(&mut child).recv_timeout(Duration::from_secs(6));
        let _ = child.kill();
        let _ = child.wait();
        said.is_ok_and(|line| line.contains("lab-probe-ok"))
    }

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // la57 would cost a fifth level of page tables, walked in software.
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
        }
    }
}

/// Boots, runs the stage's scenarios, and passes their lines on. Peers' roots that are not in the image are disks beside it.
///
/// # Errors
/// That scenarios failed, or that the VM did.
pub(crate) fn run(
    (image, roots): (&Image, &[(&str, PathBuf)]),
    accelerator: Accelerator,
    stage: &Stage,
    options: &[&str],
) -> Result<(), String> {
    prepare(stage, options, &roots.iter().map(|(name, _)| *name).collect::<Vec<_>>())?;
    let console = stage.folder.join("console.log");
    let mut command = qemu(accelerator, image, &format!("file:{}", console.display()), "");
    command.arg("-drive").arg(format!("file={},if=virtio,format=raw,snapshot=on", image.root.display()));
    if let Some(modules) = &image.modules {
        command.arg("-drive").arg(format!("file={},if=virtio,format=raw,snapshot=on", modules.display()));
    }
    // The initrd counts virtio's disks; these are of another kind.
    for (name, root) in roots {
        let file = format!("file={},if=none,id={name},format=raw,snapshot=on", root.display());
        command.arg("-drive").arg(file).arg("-device").arg(format!("nvme,drive={name},serial={name}"));
    }
    command.arg("-virtfs");
    command.arg(format!("local,path={},mount_tag=host,security_model=none", stage.folder.display()));
    command.stderr(Stdio::inherit());
    follow(command, stage)
}

/// Writes what the guest runs.
///
/// # Errors
/// The file that can't be written.
pub(super) fn prepare(stage: &Stage, options: &[&str], roots: &[&str]) -> Result<(), String> {
    for (name, script) in [("guest.sh", BEGIN), ("run.sh", &script(stage, options, roots))] {
        let file = stage.folder.join(name);
        fs::write(&file, script).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    Ok(())
}

/// Runs a machine, whose output is the guest's lines, and passes them on.
///
/// # Errors
/// That scenarios failed, or that the machine did.
pub(super) fn follow(mut command: Command, stage: &Stage) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{program}: {e}"))?;
    let heard = listen(&mut child);
    let _ = child.wait();
    heard?;
    let exit = fs::read_to_string(stage.folder.join("exit")).unwrap_or_default();
    match exit.trim() {
        "0" => Ok(()),
        "" => Err(format!(
            "lab: the VM ended before the scenarios did: {}",
            lab_folder().join("results/console.log").display()
        )),
        _ => Err("lab: not all passed".to_owned()),
    }
}

/// What the guest starts: from memory, so that nothing holds the share.
const BEGIN: &str = "cp /host/run.sh /run/run.sh\ncd /\nexec sh /run/run.sh\n";

/// What it does then. The share's driver does not survive a sleep: what suspends the guest runs from a copy of the stage, without
/// the share, and comes first, as what other scenarios leave running may hold the share in a mount namespace of its own. After a
/// sleep ACPI does not turn the guest off any more, but a reset ends it, too, when the console has taken what was said (stty waits
/// for that).
fn script(stage: &Stage, options: &[&str], roots: &[&str]) -> String {
    let mut script =
        "exec > /dev/ttyS1 2>&1\nstty raw -echo < /dev/ttyS1\nmount -t tmpfs -o mode=755 lab /lab\ncode=0\n"
            .to_owned();
    for name in roots {
        // A disk is there some moments after its driver.
        let _ = writeln!(
            script,
            "modprobe nvme; mkdir -p /roots/{name}; for n in $(seq 100); do \
             mount -t ext4 -o ro LABEL={name} /roots/{name} 2>/dev/null && break; sleep 0.1; done"
        );
    }
    let sleeping = stage.sleeping(Path::new("/run/stage"), options);
    if let Some(arguments) = &sleeping {
        let _ = write!(
            script,
            "mkdir -p /run/stage && cp -R /host/bin /host/scenarios /host/packaging /run/stage\n\
             umount /host && rmmod 9p 9pnet_virtio && \
             PATH=/run/stage/bin:$PATH /run/stage/bin/adit-lab run --work /lab {} || code=$?\n\
             modprobe -a 9pnet_virtio 9p\n\
             mountpoint -q /host || mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 host /host\n\
             [ ! -d /run/stage/results ] || cp -R /run/stage/results /host\ncat /run/stage/summary >> /host/summary\n",
            arguments.join(" ")
        );
    }
    script.push_str("export PATH=/host/bin:$PATH\n");
    if let Some(arguments) = stage.arguments(Path::new("/host"), options) {
        let _ = writeln!(script, "/host/bin/adit-lab run --work /lab {} || code=$?", arguments.join(" "));
    }
    script.push_str("echo $code > /host/exit\n");
    if sleeping.is_some() {
        script.push_str("sync\nstty raw -echo < /dev/ttyS1\necho b > /proc/sysrq-trigger\n");
    }
    script
}

/// Prints the guest's lines until it ends.
fn listen(child: &mut Child) -> Result<(), String> {
    let lines = lines(child);
    loop {
        match lines.recv_timeout(SILENCE) {
            Ok(line) => println!("{}", line.trim_end_matches('\r')),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                return Err(format!("lab: the VM said nothing for {} s", SILENCE.as_secs()));
            }
        }
    }
}

fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
    }
    receiver
}

/// qemu, which ends with us however we end. Its first serial line is the kernel's console, its second what we read.
fn qemu(accelerator: Accelerator, image: &Image, console: &str, append: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args([
        "--pdeathsig",
        "KILL",
        "qemu-system-x86_64",
        "-machine",
        "q35",
        "-nodefaults",
        "-no-user-config",
    ]);
    command.args(accelerator.arguments()).args(["-smp", "2", "-m", "4096", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
    command.arg("-append").arg(format!("console=ttyS0 quiet panic=-1 mitigations=off {append}"));
    command.args(["-serial", console, "-serial", "stdio"]).stdin(Stdio::null());
    command
}
