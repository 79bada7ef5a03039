//! Files as the formats' public descriptions have them, and what becomes of each.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use adit_import::{File, Format, Import, Imported, Options, Weakening, import};

const CA: &[u8] = include_bytes!("../../pki/tests/data/revocation/ca.der");

fn all(files: &[(&str, &[u8])], options: &Options<'_>) -> Result<Import, String> {
    let files: Vec<File<'_>> = files.iter().map(|(name, content)| File { name, content }).collect();
    import(&files, options).map_err(|e| format!("{}; {}", e.text, e.next))
}

fn one(files: &[(&str, &[u8])], options: &Options<'_>) -> Imported {
    let mut found = all(files, options).unwrap();
    assert_eq!(found.profiles.len(), 1);
    found.profiles.remove(0)
}

fn toml(profile: &Imported) -> &str {
    profile.toml.as_deref().unwrap_or_else(|| panic!("{:?} {:?}", profile.missing, profile.weak))
}

fn left(profile: &Imported, key: &str) -> bool {
    profile.left_out.iter().any(|left| left.key.starts_with(key))
}

fn secret(profile: &Imported, name: &str) -> String {
    let file = profile.files.iter().find(|file| file.name == name).unwrap();
    String::from_utf8(file.content.expose().to_vec()).unwrap()
}

const NM: &str = "[connection]\nid=Corp VPN\nuuid=1\ntype=vpn\nautoconnect=true\n\n[vpn]\n";

fn keyfile(plugin: &str, vpn: &str, secrets: &str) -> String {
    format!(
        "{NM}{vpn}service-type=org.freedesktop.NetworkManager.{plugin}\n\n[vpn-secrets]\n{secrets}\n[ipv4]\nmethod=auto\n"
    )
}

#[test]
fn a_keyfile_of_the_strongswan_plugin() {
    let text = keyfile(
        "strongswan",
        "address=vpn.example.com\ncertificate=/home/ann/ca.der\nencap=yes\nmethod=eap\nuser=ann\nproposal=yes\n\
         ike=aes256-sha256-modp1024-modp2048;3des-sha1-modp1024\nesp=aes256gcm16\nvirtual=yes\nnew-key=1\n",
        "password=it's a secret\\\\\n",
    );
    let files: [(&str, &[u8]); 2] = [("corp.nmconnection", text.as_bytes()), ("ca.der", CA)];
    let profile = one(&files, &Options::default());
    assert_eq!(
        toml(&profile),
        "server = [\"vpn.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\nuser = \"ann\"\n\
         password-file = \"Corp-VPN.password\"\nca = \"Corp-VPN-ca.pem\"\nike = [\"aes256-sha256-modp2048\"]\n\
         esp = [\"aes256gcm16\"]\nforce-encapsulation = true\n"
    );
    assert_eq!(secret(&profile, "Corp-VPN.password"), "it's a secret\\");
    assert!(secret(&profile, "Corp-VPN-ca.pem").starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(
        left(&profile, "connection.autoconnect")
            && left(&profile, "connection.uuid")
            && left(&profile, "vpn.new-key")
    );
    assert!(profile.weak.iter().all(|w| w.weakening == Weakening::LegacyAlgorithms && !w.taken && !w.needed));

    let legacy = [Weakening::LegacyAlgorithms];
    let profile = one(&files, &Options { accept: &legacy, ..Options::default() });
    assert!(toml(&profile).contains("ike = [\"aes256-sha256-modp1024-modp2048\", \"3des-sha1-modp1024\"]"));
    assert!(toml(&profile).contains("legacy = true\n"));

    // A path opens nothing.
    let profile = one(&files[..1], &Options::default());
    assert!(profile.toml.is_none() && profile.files.is_empty());
    assert_eq!(profile.missing[0].what, "vpn.certificate = /home/ann/ca.der is a file of its own");
}

#[test]
fn a_keyfile_of_the_l2tp_plugin() {
    let text = keyfile(
        "l2tp",
        "gateway=192.0.2.1\nipsec-enabled=yes\nipsec-ike=aes256-sha256-modp2048\nipsec-ikelifetime=8h\nuser=ann\n\
         domain=CORP\nrefuse-eap=yes\nrefuse-pap=yes\nmtu=1400\npassword-flags=1\n",
        "ipsec-psk=0sc3dvcmRmaXNo\n",
    );
    let files: [(&str, &[u8]); 1] = [("corp", text.as_bytes())];
    let refused = one(&files, &Options::default());
    assert!(refused.toml.is_none() && refused.missing.is_empty());
    assert!(refused.weak.iter().any(|w| w.weakening == Weakening::GroupPsk && w.needed));

    let accept = [Weakening::GroupPsk];
    let profile = one(&files, &Options { accept: &accept, ..Options::default() });
    assert_eq!(
        toml(&profile),
        "server = [\"192.0.2.1\"]\ntunnel = \"l2tp\"\npsk-file = \"Corp-VPN.psk\"\nuser = 'CORP\\ann'\n\
         ppp-auth = [\"mschapv2\"]\nike = [\"aes256-sha256-modp2048\"]\nrekey-ike = \"8h\"\nmtu = 1400\n"
    );
    assert_eq!(secret(&profile, "Corp-VPN.psk"), "0sc3dvcmRmaXNo");

    let by_ikev2 = text.replace("ipsec-enabled=yes", "ipsec-enabled=yes\nipsec-ikev2=yes");
    let files = [("corp", by_ikev2.as_bytes())];
    let profile = one(&files, &Options { accept: &accept, ..Options::default() });
    assert!(toml(&profile).contains("ipsec = \"ikev2\"\n"), "{}", toml(&profile));

    let open = keyfile("l2tp", "gateway=192.0.2.1\nuser=ann\n", "");
    let profile = one(&[("corp", open.as_bytes())], &Options::default());
    assert!(profile.toml.is_none());
    let accept = [Weakening::NoIpsec];
    let profile = one(&[("corp", open.as_bytes())], &Options { accept: &accept, ..Options::default() });
    assert!(toml(&profile).contains("ipsec = \"none\""));
}

#[test]
fn a_keyfile_of_the_sstp_plugin() {
    let text = keyfile(
        "sstp",
        "gateway=vpn.example.com:8443\nignore-cert-warn=yes\nuser=ann\nproxy-server=proxy\nproxy-port=3128\nproxy-user=p\n",
        "password=x\nproxy-password=y\n",
    );
    let profile = one(&[("corp", text.as_bytes())], &Options::default());
    assert_eq!(
        toml(&profile),
        "server = [\"vpn.example.com:8443\"]\ntunnel = \"sstp\"\nuser = \"ann\"\npassword-file = \"Corp-VPN.password\"\n\
         proxy = \"proxy:3128\"\nproxy-user = \"p\"\nproxy-password-file = \"Corp-VPN.proxy-password\"\n"
    );
    let [weak] = profile.weak.as_slice() else { panic!("{:?}", profile.weak) };
    assert_eq!((weak.weakening, weak.taken), (Weakening::UncheckedCertificate, false));
}

#[test]
fn a_keyfile_of_the_pptp_plugin() {
    let text =
        keyfile("pptp", "gateway=192.0.2.1\nuser=ann\nrequire-mppe=yes\nmppe-stateful=yes\n", "password=x\n")
            + "never-default=true\nroute1=10.1.2.3/16,10.0.0.1,50\nroute2=10.9.0.0/24\ndns=10.0.0.1;\n";
    let profile = one(&[("corp", text.as_bytes())], &Options::default());
    assert_eq!(
        toml(&profile),
        "server = [\"192.0.2.1\"]\ntunnel = \"pptp\"\nuser = \"ann\"\npassword-file = \"Corp-VPN.password\"\n\
         mppe-stateful = true\ntraffic = \"split\"\nremote-subnets = [\"10.1.0.0/16\", \"10.9.0.0/24\"]\n"
    );
    assert!(left(&profile, "ipv4.dns"));
    // Without a word for encryption ours stays: with one it need not be.
    let open = keyfile(
        "pptp",
        "gateway=192.0.2.1\nuser=ann\nrefuse-eap=yes\nrefuse-mschapv2=yes\nrefuse-mschap=yes\nrefuse-chap=yes\n",
        "",
    );
    let profile = one(&[("corp", open.as_bytes())], &Options::default());
    assert!(profile.toml.is_none());
    assert!(
        profile
            .weak
            .iter()
            .any(|w| w.weakening == Weakening::Pap && w.needed && !w.weakening.can_be_accepted())
    );
}

#[test]
fn a_name_on_the_command_line_and_its_limits() {
    let text = keyfile("pptp", "gateway=192.0.2.1\nuser=ann\n", "password=x\n");
    let name = "work".parse().unwrap();
    let profile = one(&[("corp", text.as_bytes())], &Options { name: Some(&name), ..Options::default() });
    assert_eq!((profile.name.as_str(), profile.files[0].name.as_str()), ("work", "work.password"));
    let wifi = "[connection]\nid=x\ntype=wifi\n[wifi]\nssid=a\n";
    assert!(all(&[("w", wifi.as_bytes())], &Options::default()).unwrap_err().contains("type \"wifi\""));
    let openvpn = keyfile("openvpn", "remote=x\n", "");
    assert!(
        all(&[("o", openvpn.as_bytes())], &Options::default()).unwrap_err().contains("plugin \"openvpn\"")
    );
    assert!(all(&[("ca.der", CA)], &Options::default()).unwrap_err().contains("no profile among the files"));
}

fn payload(inside: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\"><dict><key>PayloadContent</key><array>\
         {inside}</array></dict></plist>"
    )
}

#[test]
fn a_mobileconfig_of_ikev2() {
    let text = payload(
        "<dict><key>PayloadType</key><string>com.apple.vpn.managed</string><key>UserDefinedName</key><string>Corp</string>\
         <key>VPNType</key><string>IKEv2</string><key>IKEv2</key><dict><key>RemoteAddress</key><string>vpn.example.com</string>\
         <key>RemoteIdentifier</key><string>vpn.example.com</string><key>AuthenticationMethod</key><string>None</string>\
         <key>ExtendedAuthEnabled</key><integer>1</integer><key>AuthName</key><string>ann</string>\
         <key>AuthPassword</key><string>x</string><key>DisableMOBIKE</key><integer>1</integer>\
         <key>IncludeAllNetworks</key><true/><key>ExcludeLocalNetworks</key><true/>\
         <key>DeadPeerDetectionRate</key><string>High</string><key>MadeUp</key><integer>1</integer>\
         <key>IKESecurityAssociationParameters</key><dict><key>EncryptionAlgorithm</key><string>AES-256-GCM</string>\
         <key>IntegrityAlgorithm</key><string>SHA2-384</string><key>DiffieHellmanGroup</key><integer>20</integer></dict></dict>\
         <key>DNS</key><dict><key>ServerAddresses</key><array><string>10.0.0.1</string></array></dict></dict>",
    );
    let profile = one(&[("c.mobileconfig", text.as_bytes())], &Options::default());
    assert_eq!(
        toml(&profile),
        "server = [\"vpn.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\nremote-id = \"vpn.example.com\"\nuser = \"ann\"\n\
         password-file = \"Corp.password\"\nike = [\"aes256gcm16-sha384-ecp384\"]\nlocal-network = true\ndpd = \"1m\"\nmobility = false\n"
    );
    assert!(!left(&profile, "IKEv2.ExcludeLocalNetworks"));
    assert!(left(&profile, "IKEv2.MadeUp") && left(&profile, "DNS"));
}

#[test]
fn a_mobileconfig_of_l2tp() {
    let text = payload(
        "<dict><key>PayloadType</key><string>com.apple.vpn.managed</string><key>UserDefinedName</key><string>Corp</string>\
         <key>VPNType</key><string>L2TP</string><key>PPP</key><dict><key>CommRemoteAddress</key><string>192.0.2.1</string>\
         <key>AuthName</key><string>ann</string></dict><key>IPSec</key><dict><key>SharedSecret</key><data>AAEC/w==</data>\
         <key>LocalIdentifier</key><string>group</string><key>LocalIdentifierType</key><string>KeyID</string></dict>\
         <key>IPv4</key><dict><key>OverridePrimary</key><integer>1</integer></dict></dict>\
         <dict><key>PayloadType</key><string>com.apple.vpn.managed</string><key>UserDefinedName</key><string>Old</string>\
         <key>VPNType</key><string>IPSec</string></dict>",
    );
    let accept = [Weakening::GroupPsk];
    let options = Options { accept: &accept, ..Options::default() };
    let found = all(&[("c.mobileconfig", text.as_bytes())], &options).unwrap();
    let profile = &found.profiles[0];
    assert_eq!(
        toml(profile),
        "server = [\"192.0.2.1\"]\ntunnel = \"l2tp\"\nlocal-id = \"keyid:group\"\npsk-file = \"Corp.psk\"\nuser = \"ann\"\n\
         traffic = \"full\"\n"
    );
    assert_eq!(secret(profile, "Corp.psk"), "0x000102ff");
    assert!(found.left_out[0].key.contains("Old: VPNType = IPSec"));
}

#[test]
fn a_profile_of_the_app() {
    let text = r#"{"uuid":"1","name":"Corp","type":"ikev2-eap","remote":{"addr":"vpn.example.com","port":4500,
        "revocation":{"crl":false,"ocsp":false}},"local":{"eap_id":"ann","shared_secret":"x"},"mtu":1400,
        "dns-servers":["10.0.0.1"],"split-tunneling":{"subnets":["10.0.0.0/8"],"excluded":["10.1.0.0/16"]},"new":{"a":[1]}}"#;
    let profile = one(&[("c.sswan", text.as_bytes())], &Options::default());
    assert_eq!(
        toml(&profile),
        "server = [\"vpn.example.com\"]\nport = 4500\ntunnel = \"ikev2\"\nauth = \"eap\"\nuser = \"ann\"\n\
         password-file = \"Corp.password\"\ntraffic = \"split\"\nremote-subnets = [\"10.0.0.0/8\"]\nmtu = 1400\n"
    );
    for key in ["uuid", "dns-servers", "split-tunneling.excluded", "new.a[0]"] {
        assert!(left(&profile, key), "{key}: {:?}", profile.left_out);
    }
    assert_eq!(profile.weak[0].weakening, Weakening::NoRevocation);
    let both = r#"{"name":"Corp","type":"ikev2-cert-eap","remote":{"addr":"vpn"}}"#;
    assert!(one(&[("c", both.as_bytes())], &Options::default()).toml.is_none());
}

#[test]
fn a_phone_book() {
    let text = "[Corp]\r\nType=2\r\nVpnStrategy=6\r\nAuthRestrictions=512\r\nIpPrioritizeRemote=0\r\n\
        IdleDisconnectSeconds=600\r\nUnheardOf=1\r\nMEDIA=rastapi\r\nDEVICE=vpn\r\nPhoneNumber=vpn.example.com\r\n\
        [Road]\r\nType=2\r\nVpnStrategy=3\r\nMEDIA=rastapi\r\nPhoneNumber=192.0.2.1\r\nPreSharedKey=1\r\n";
    let files: [(&str, &[u8]); 1] = [("rasphone.pbk", text.as_bytes())];
    let options = Options { user: Some("ann"), entry: Some("Corp"), ..Options::default() };
    let profile = one(&files, &options);
    assert_eq!(
        toml(&profile),
        "server = [\"vpn.example.com\"]\ntunnel = \"sstp\"\nuser = \"ann\"\nppp-auth = [\"mschapv2\"]\ntraffic = \"split\"\n\
         idle = \"600s\"\n"
    );
    assert!(left(&profile, "UnheardOf"));
    assert!(profile.notes.iter().any(|n| n.contains("SSTP first: sstp, ikev2, pptp, l2tp")));
    let road = Options { user: Some("ann"), entry: Some("Road"), ..Options::default() };
    assert!(one(&files, &road).missing[0].what.contains("Windows keeps it elsewhere"));
    let (psk, accept) = (b"swordfish"[..].into(), [Weakening::GroupPsk]);
    let profile = one(&files, &Options { psk: Some(&psk), accept: &accept, ..road });
    assert!(toml(&profile).contains("psk-file = \"Road.psk\""));
    assert!(all(&files, &Options { entry: Some("x"), ..road }).unwrap_err().contains("it has: Corp, Road"));
}

#[test]
fn a_profile_xml() {
    let text = "<VPNProfile><ProfileName>Corp</ProfileName><NativeProfile><Servers>a.example.com;A,b.example.com;B</Servers>\
        <NativeProtocolType>ProtocolList</NativeProtocolType><ProtocolList><NativeProtocolList><Type>Ikev2</Type>\
        </NativeProtocolList><NativeProtocolList><Type>Sstp</Type></NativeProtocolList></ProtocolList>\
        <RoutingPolicyType>SplitTunnel</RoutingPolicyType><Authentication><UserMethod>Eap</UserMethod><Eap><Configuration>\
        <EapHostConfig><EapMethod><Type>25</Type></EapMethod><Config><Eap><Type>25</Type><EapType><ServerValidation>\
        <ServerNames>nps.example.com</ServerNames><TrustedRootCA>aa bb</TrustedRootCA></ServerValidation><Eap><Type>26</Type>\
        </Eap></EapType></Eap></Config></EapHostConfig></Configuration></Eap></Authentication></NativeProfile>\
        <Route><Address>10.0.0.0</Address><PrefixSize>8</PrefixSize></Route><LockDown>true</LockDown><Odd>1</Odd></VPNProfile>";
    let profile = one(&[("p.xml", text.as_bytes())], &Options { user: Some("ann"), ..Options::default() });
    assert_eq!(
        toml(&profile),
        "server = [\"a.example.com\", \"b.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\nuser = \"ann\"\n\
         eap-methods = [\"peap\"]\neap-inner = \"mschapv2\"\neap-server = \"nps.example.com\"\ntraffic = \"split\"\n\
         remote-subnets = [\"10.0.0.0/8\"]\n"
    );
    assert!(left(&profile, "LockDown") && left(&profile, "Odd"));
}

#[test]
fn a_swanctl_conf() {
    let text = "connections {\n corp {\n  version = 2\n  remote_addrs = vpn.example.com\n  local { auth = psk\n id = ann@example.com }\n\
        remote { auth = psk\n id = vpn.example.com }\n  children { net { remote_ts = 10.0.0.0/8[tcp/443], 10.9.0.0/24\n\
        esp_proposals = aes256gcm16-curve25519\n rekey_time = 2h } voice { remote_ts = 10.2.0.0/16 } }\n }\n gw { local { } }\n}\n\
        secrets { ike-1 { id = other\n secret = no }\n ike-2 { id-a = vpn.example.com\n secret = \"0x0a\" } }\npools { p { } }\n";
    let found = all(&[("swanctl.conf", text.as_bytes())], &Options::default()).unwrap();
    let profile = &found.profiles[0];
    assert_eq!(
        toml(profile),
        "server = [\"vpn.example.com\"]\ntunnel = \"ikev2\"\nauth = \"psk\"\nlocal-id = \"ann@example.com\"\n\
         remote-id = \"vpn.example.com\"\npsk-file = \"corp.psk\"\nesp = [\"aes256gcm16-x25519\"]\nrekey-child = \"2h\"\n\
         traffic = \"split\"\nremote-subnets = [\"10.0.0.0/8[tcp/443]\", \"10.9.0.0/24\"]\n"
    );
    assert_eq!(secret(profile, "corp.psk"), "0x0a");
    assert!(left(profile, "children.voice"));
    assert!(found.left_out.iter().any(|l| l.key == "gw") && found.left_out.iter().any(|l| l.key == "pools"));
}

#[test]
fn an_ipsec_conf() {
    let text = "config setup\n  uniqueids=no\nconn %default\n  keyexchange=ikev2\n  ike=aes256-sha256-modp2048!\n\
        conn base\n  leftauth=eap-mschapv2\n  eap_identity=ann\n  leftsourceip=%config\nconn corp\n  also=base\n  \
        right=vpn.example.com\n  rightid=@vpn.example.com\n  rightsubnet=0.0.0.0/0\n  auto=start\nconn in\n  left=192.0.2.1\n";
    let files: [(&str, &[u8]); 2] =
        [("ipsec.conf", text.as_bytes()), ("ipsec.secrets", b"ann : EAP \"x y\"\n")];
    let found = all(&files, &Options { entry: Some("corp"), ..Options::default() }).unwrap();
    assert_eq!(found.format, Format::IpsecConf);
    let profile = &found.profiles[0];
    assert_eq!(
        toml(profile),
        "server = [\"vpn.example.com\"]\ntunnel = \"ikev2\"\nauth = \"eap\"\nremote-id = \"vpn.example.com\"\nuser = \"ann\"\n\
         eap-methods = [\"mschapv2\"]\npassword-file = \"corp.password\"\nike = [\"aes256-sha256-modp2048\"]\ntraffic = \"full\"\n"
    );
    assert_eq!(secret(profile, "corp.password"), "x y");
    assert!(found.left_out.iter().any(|l| l.key == "in"));
}
