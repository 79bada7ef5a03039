//! Vendor IDs: what a peer can do, and what it is.

use adit_core::snapshot::{Reader, Writer};
use adit_isakmp::v1::proposal::Encapsulation;
use adit_isakmp::v1::{Message, Payload};

const RFC_3947: &[u8] = &hex(0x4a13_1c81_0703_5845_5c57_28f2_0e95_452f);
const DRAFT_03: &[u8] = &hex(0x7d94_19a6_5310_ca6f_2c17_9d92_1552_9d56);
/// Of `draft-ietf-ipsec-nat-t-ike-02` with a line feed behind it, which is the one that most old peers send.
const DRAFT_02_N: &[u8] = &hex(0x90cb_8091_3ebb_696e_0863_81b5_ec42_7b1f);
const DRAFT_02: &[u8] = &hex(0xcd60_4643_35df_21f8_7cfd_b2fc_68b6_a448);
const DPD: &[u8] = &hex(0xafca_d713_68a1_f1c9_6b86_96fc_7757_0100);
const FRAGMENTATION: &[u8] = &hex(0x4048_b7d5_6ebc_e885_25e7_de7f_00d6_c2d3);
/// `MS NT5 ISAKMPOAKLEY`; four bytes with a version follow.
const WINDOWS: &[u8] = &hex(0x1e2b_5169_0599_1c7d_7c96_fcbf_b587_e461);
/// `Vid-Initial-Contact`: how Windows says INITIAL-CONTACT.
const INITIAL_CONTACT: &[u8] = &hex(0x2624_4d38_eddb_61b3_172a_36e3_d0cf_b819);
/// `draft-ietf-ipsec-nat-t-ike`, and with -08: only Apple's systems send these.
const APPLE: &[&[u8]] =
    &[&hex(0x4df3_7928_e9fc_4fd1_b326_2170_d515_c662), &hex(0x8f8d_8382_6d24_6b6f_c7a8_a6a4_28c1_1de8)];
const STRONGSWAN: &[u8] = &hex(0x882f_e56d_6fd2_0dbc_2251_613b_2ebe_5beb);
const LIBRESWAN: &[u8] = b"OE-Libreswan";

const fn hex(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

/// Programs that are known. Their places are said to the next process.
const NAMES: [&str; 4] = ["strongSwan", "Windows", "Apple", "libreswan"];

/// What a peer has said of itself. Nothing of it is authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Peer {
    /// NAT traversal by the RFC (`false`) or a draft of it (`true`).
    pub(crate) natt: Option<bool>,
    /// Dead peer detection.
    pub(crate) dpd: bool,
    /// It takes fragments.
    pub(crate) fragments: bool,
    /// It has no other SA with us.
    pub(crate) initial_contact: bool,
    /// What it is.
    pub(crate) name: Option<&'static str>,
}

impl Peer {
    /// Adds what a message says.
    pub(crate) fn read(&mut self, message: &Message) {
        for payload in message.iter() {
            let Payload::Vendor(id) = payload else { continue };
            let id = id.as_slice();
            match id {
                // [3947:3.1-1]
                RFC_3947 => self.natt = Some(false),
                DRAFT_03 | DRAFT_02 | DRAFT_02_N => self.natt = self.natt.or(Some(true)),
                DPD => self.dpd = true,
                INITIAL_CONTACT => self.initial_contact = true,
                STRONGSWAN => self.name = Some("strongSwan"),
                _ if id.starts_with(FRAGMENTATION) => self.fragments = true,
                _ if id.starts_with(WINDOWS) => self.name = Some("Windows"),
                _ if APPLE.contains(&id) => self.name = self.name.or(Some("Apple")),
                _ if id.starts_with(LIBRESWAN) => self.name = Some("libreswan"),
                _ => {}
            }
        }
    }

    pub(crate) fn save(self, w: &mut Writer) {
        w.option(self.natt, Writer::flag);
        [self.dpd, self.fragments, self.initial_contact].into_iter().for_each(|flag| w.flag(flag));
        let place = self.name.and_then(|name| NAMES.iter().position(|known| *known == name));
        w.option(place.and_then(|place| u8::try_from(place).ok()), Writer::u8);
    }

    pub(crate) fn read_saved(r: &mut Reader<'_>) -> Option<Self> {
        let natt = r.option(Reader::flag)?;
        let (dpd, fragments, initial_contact) = (r.flag()?, r.flag()?, r.flag()?);
        let name = r.option(|r| NAMES.get(usize::from(r.u8()?)).copied())?;
        Some(Self { natt, dpd, fragments, initial_contact, name })
    }

    /// Whether payloads of NAT traversal are the drafts'.
    pub(crate) fn draft(self) -> bool {
        self.natt == Some(true)
    }

    /// How ESP is carried, where there is a NAT.
    pub(crate) fn encapsulation(self) -> Encapsulation {
        if self.draft() { Encapsulation::UdpDraft } else { Encapsulation::Udp }
    }
}

/// Our own: NAT traversal by the RFC and two drafts, dead peer detection, fragments of Main Mode.
pub(crate) fn ours() -> Vec<Payload> {
    // [3947:3.1-1] [3706:5-1]
    let fragments = [FRAGMENTATION, &[0x80, 0, 0, 0]].concat();
    let ids = [RFC_3947, DRAFT_03, DRAFT_02_N, DPD].map(<[u8]>::to_vec);
    ids.into_iter().chain([fragments]).map(Payload::Vendor).collect()
}
