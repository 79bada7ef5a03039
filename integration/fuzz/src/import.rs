//! Profiles of other programs: whatever stands in them, what comes out is a profile that the daemon would take, whose files
//! have plain names, and which connects when somebody says so.

use adit_import::{File, Format, Options, Weakening, check_suite, import};
use adit_profile::{FileName, Source, Start, parse_profile};

/// A keyfile of NetworkManager.
pub fn networkmanager(data: &[u8]) {
    of(Format::NetworkManager, data);
}

/// A configuration profile of Apple's systems.
pub fn mobileconfig(data: &[u8]) {
    of(Format::Mobileconfig, data);
}

/// A profile of strongSwan's app.
pub fn sswan(data: &[u8]) {
    of(Format::Sswan, data);
}

/// A phone book of Windows.
pub fn pbk(data: &[u8]) {
    of(Format::PhoneBook, data);
}

/// A ProfileXML.
pub fn profilexml(data: &[u8]) {
    of(Format::ProfileXml, data);
}

/// A swanctl.conf.
pub fn swanctl(data: &[u8]) {
    of(Format::Swanctl, data);
}

/// An ipsec.conf, and behind an octet 0 its ipsec.secrets.
pub fn ipsec_conf(data: &[u8]) {
    of(Format::IpsecConf, data);
}

fn of(format: Format, data: &[u8]) {
    let (profile, secrets) = match data.iter().position(|b| *b == 0) {
        Some(at) if format == Format::IpsecConf => data.split_at(at),
        _ => (data, &[][..]),
    };
    let mut files = vec![File { name: "corp", content: profile }];
    if let Some((_, secrets)) = secrets.split_first() {
        files.push(File { name: "ipsec.secrets", content: secrets });
    }
    let accept: Vec<Weakening> = Weakening::acceptable().collect();
    for accept in [&accept[..], &[]] {
        let options = Options { format: Some(format), user: Some("ann"), accept, ..Options::default() };
        let Ok(found) = import(&files, &options) else { continue };
        for profile in found.profiles {
            let Some(toml) = profile.toml else { continue };
            let source = Source { file: "corp.toml", text: &toml, access: None };
            let read =
                parse_profile(&profile.name, &source, &check_suite).expect("what comes out is a profile");
            assert_eq!(read.start, Start::Manual);
            assert!(profile.files.iter().all(|file| file.name.parse::<FileName>().is_ok()));
        }
    }
}

pub(crate) fn samples() -> Vec<(&'static str, String, Vec<u8>)> {
    const FILES: &[(&str, &str, &[u8])] = &[
        (
            "import_networkmanager",
            "strongswan",
            include_bytes!("../../scenarios/import-nm-strongswan/client/tmp/corp.nmconnection"),
        ),
        (
            "import_networkmanager",
            "l2tp",
            include_bytes!("../../scenarios/import-nm-l2tp/client/tmp/corp.nmconnection"),
        ),
        (
            "import_networkmanager",
            "sstp",
            include_bytes!("../../scenarios/import-nm-sstp/client/tmp/corp.nmconnection"),
        ),
        (
            "import_networkmanager",
            "pptp",
            include_bytes!("../../scenarios/import-nm-pptp/client/tmp/corp.nmconnection"),
        ),
        (
            "import_mobileconfig",
            "corp",
            include_bytes!("../../scenarios/import-mobileconfig/client/tmp/corp.mobileconfig"),
        ),
        ("import_sswan", "corp", include_bytes!("../../scenarios/import-sswan/client/tmp/corp.sswan")),
        ("import_pbk", "corp", include_bytes!("../../scenarios/import-pbk/client/tmp/rasphone.pbk")),
        (
            "import_profilexml",
            "corp",
            include_bytes!("../../scenarios/import-profilexml/client/tmp/corp.xml"),
        ),
        ("import_swanctl", "corp", include_bytes!("../../scenarios/import-swanctl/client/tmp/swanctl.conf")),
        (
            "import_ipsec_conf",
            "corp",
            include_bytes!("../../scenarios/import-ipsec-conf/client/tmp/ipsec.conf"),
        ),
    ];
    FILES.iter().map(|(target, name, bytes)| (*target, (*name).to_owned(), bytes.to_vec())).collect()
}
