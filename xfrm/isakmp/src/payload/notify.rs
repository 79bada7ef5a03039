use adit_core::DecodeError;

use super::Protocol;
use crate::wire::{EncodeError, Reader, count8, registry};

registry! {
    /// Notify Message Type (RFC 7296 §3.10.1 and the IANA registry). Below 16384 it is an error.
    NotifyType(u16) {
        /// A payload is unknown and critical; the data is its type.
        UNSUPPORTED_CRITICAL_PAYLOAD = 1,
        /// An IKE message for an SPI nobody knows.
        INVALID_IKE_SPI = 4,
        /// The major version is higher than we speak.
        INVALID_MAJOR_VERSION = 5,
        /// The message is malformed.
        INVALID_SYNTAX = 7,
        /// The Message ID is outside the window.
        INVALID_MESSAGE_ID = 9,
        /// An ESP or AH packet for an SPI nobody knows.
        INVALID_SPI = 11,
        /// No proposal is acceptable.
        NO_PROPOSAL_CHOSEN = 14,
        /// Another key exchange method is wanted; the data is its number.
        INVALID_KE_PAYLOAD = 17,
        /// Who you are could not be proven.
        AUTHENTICATION_FAILED = 24,
        /// Traffic selectors must be a single pair of addresses.
        SINGLE_PAIR_REQUIRED = 34,
        /// No more CHILD_SAs here.
        NO_ADDITIONAL_SAS = 35,
        /// No address to give.
        INTERNAL_ADDRESS_FAILURE = 36,
        /// A CFG_REQUEST is expected.
        FAILED_CP_REQUIRED = 37,
        /// No common traffic selectors.
        TS_UNACCEPTABLE = 38,
        /// A packet came that the selectors do not allow.
        INVALID_SELECTORS = 39,
        /// RFC 4555.
        UNACCEPTABLE_ADDRESSES = 40,
        /// RFC 4555.
        UNEXPECTED_NAT_DETECTED = 41,
        /// RFC 5026.
        USE_ASSIGNED_HOA = 42,
        /// Come back later.
        TEMPORARY_FAILURE = 43,
        /// There is no such CHILD_SA to rekey.
        CHILD_SA_NOT_FOUND = 44,
        /// RFC 9838.
        INVALID_GROUP_ID = 45,
        /// RFC 9838.
        AUTHORIZATION_FAILED = 46,
        /// RFC 9370.
        STATE_NOT_FOUND = 47,
        /// RFC 9611.
        TS_MAX_QUEUE = 48,
        /// Microsoft's own: a Windows error code, 4 bytes.
        MS_STATUS = 12345,
        /// This is the peer's only IKE_SA with this identity.
        INITIAL_CONTACT = 16384,
        /// The replay window.
        SET_WINDOW_SIZE = 16385,
        /// There were more traffic selectors.
        ADDITIONAL_TS_POSSIBLE = 16386,
        /// IPComp is offered.
        IPCOMP_SUPPORTED = 16387,
        /// SHA-1 of SPIs, source address and port.
        NAT_DETECTION_SOURCE_IP = 16388,
        /// SHA-1 of SPIs, destination address and port.
        NAT_DETECTION_DESTINATION_IP = 16389,
        /// Prove that you receive at this address.
        COOKIE = 16390,
        /// Transport mode.
        USE_TRANSPORT_MODE = 16391,
        /// Hash and URL certificates are understood.
        HTTP_CERT_LOOKUP_SUPPORTED = 16392,
        /// The CHILD_SA to rekey.
        REKEY_SA = 16393,
        /// No traffic flow confidentiality padding.
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394,
        /// Fragments may be sent without ports.
        NON_FIRST_FRAGMENTS_ALSO = 16395,
        /// RFC 4555.
        MOBIKE_SUPPORTED = 16396,
        /// RFC 4555.
        ADDITIONAL_IP4_ADDRESS = 16397,
        /// RFC 4555.
        ADDITIONAL_IP6_ADDRESS = 16398,
        /// RFC 4555.
        NO_ADDITIONAL_ADDRESSES = 16399,
        /// RFC 4555.
        UPDATE_SA_ADDRESSES = 16400,
        /// RFC 4555.
        COOKIE2 = 16401,
        /// RFC 4555.
        NO_NATS_ALLOWED = 16402,
        /// RFC 4478.
        AUTH_LIFETIME = 16403,
        /// RFC 4739.
        MULTIPLE_AUTH_SUPPORTED = 16404,
        /// RFC 4739.
        ANOTHER_AUTH_FOLLOWS = 16405,
        /// RFC 5685.
        REDIRECT_SUPPORTED = 16406,
        /// RFC 5685.
        REDIRECT = 16407,
        /// RFC 5685.
        REDIRECTED_FROM = 16408,
        /// RFC 5723.
        TICKET_LT_OPAQUE = 16409,
        /// RFC 5723.
        TICKET_REQUEST = 16410,
        /// RFC 5723.
        TICKET_ACK = 16411,
        /// RFC 5723.
        TICKET_NACK = 16412,
        /// RFC 5723.
        TICKET_OPAQUE = 16413,
        /// RFC 5739.
        LINK_ID = 16414,
        /// RFC 5840.
        USE_WESP_MODE = 16415,
        /// RFC 5857.
        ROHC_SUPPORTED = 16416,
        /// RFC 5998.
        EAP_ONLY_AUTHENTICATION = 16417,
        /// RFC 6023.
        CHILDLESS_IKEV2_SUPPORTED = 16418,
        /// RFC 6290.
        QUICK_CRASH_DETECTION = 16419,
        /// RFC 6311.
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420,
        /// RFC 6311.
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421,
        /// RFC 6311.
        IKEV2_MESSAGE_ID_SYNC = 16422,
        /// RFC 6311.
        IPSEC_REPLAY_COUNTER_SYNC = 16423,
        /// RFC 6467.
        SECURE_PASSWORD_METHODS = 16424,
        /// RFC 6631.
        PSK_PERSIST = 16425,
        /// RFC 6631.
        PSK_CONFIRM = 16426,
        /// RFC 6867.
        ERX_SUPPORTED = 16427,
        /// 3GPP TS 24.302.
        IFOM_CAPABILITY = 16428,
        /// RFC 9838.
        GROUP_SENDER = 16429,
        /// RFC 7383.
        // [7383:2.3-3]
        IKEV2_FRAGMENTATION_SUPPORTED = 16430,
        /// RFC 7427.
        SIGNATURE_HASH_ALGORITHMS = 16431,
        /// RFC 7791.
        CLONE_IKE_SA_SUPPORTED = 16432,
        /// RFC 7791.
        CLONE_IKE_SA = 16433,
        /// RFC 8019.
        PUZZLE = 16434,
        /// RFC 8784.
        USE_PPK = 16435,
        /// RFC 8784.
        PPK_IDENTITY = 16436,
        /// RFC 8784.
        NO_PPK_AUTH = 16437,
        /// RFC 9242.
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438,
        /// RFC 8983.
        IP4_ALLOWED = 16439,
        /// RFC 8983.
        IP6_ALLOWED = 16440,
        /// RFC 9370.
        ADDITIONAL_KEY_EXCHANGE = 16441,
        /// RFC 9347.
        USE_AGGFRAG = 16442,
        /// RFC 9593.
        SUPPORTED_AUTH_METHODS = 16443,
        /// RFC 9611.
        SA_RESOURCE_INFO = 16444,
        /// RFC 9867.
        USE_PPK_INT = 16445,
        /// RFC 9867.
        PPK_IDENTITY_KEY = 16446,
    }
}

impl NotifyType {
    /// Whether it says that something failed (RFC 7296 §3.10.1), known or not.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

/// N (RFC 7296 §3.10).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notify {
    /// The protocol of `spi`; [`Protocol::NONE`] where there is no SPI.
    pub protocol: Protocol,
    /// The SA it is about; empty: the IKE_SA of the message.
    pub spi: Vec<u8>,
    /// Notify Message Type.
    pub kind: NotifyType,
    /// Notification Data.
    pub data: Vec<u8>,
}

impl Notify {
    /// About the IKE_SA of the message, or about nothing in particular.
    #[must_use]
    pub fn new(kind: NotifyType, data: impl Into<Vec<u8>>) -> Self {
        // [7296:3.10-2] [7296:3.10-3]
        // [7383:2.3-1] [7383:2.3-2]
        Self { protocol: Protocol::NONE, spi: Vec::new(), kind, data: data.into() }
    }

    /// About an ESP SA.
    #[must_use]
    pub fn esp(kind: NotifyType, spi: u32, data: impl Into<Vec<u8>>) -> Self {
        // [7296:3.10-1]
        Self { protocol: Protocol::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: data.into() }
    }

    /// The data as a 16-bit number, if it has two bytes: INVALID_KE_PAYLOAD.
    #[must_use]
    pub fn data_u16(&self) -> Option<u16> {
        self.data.as_slice().try_into().ok().map(u16::from_be_bytes)
    }

    /// The data as a 32-bit number, if it has four bytes: MS_STATUS.
    #[must_use]
    pub fn data_u32(&self) -> Option<u32> {
        self.data.as_slice().try_into().ok().map(u32::from_be_bytes)
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the Notify payload is cut off";
        let protocol = Protocol(r.u8(cut)?);
        let spi_size = r.u8(cut)?;
        let kind = NotifyType(r.u16(cut)?);
        let spi = r.take(usize::from(spi_size), "the Notify payload's SPI is cut off")?.to_vec();
        Ok(Self { protocol, spi, kind, data: r.rest().to_vec() })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&[self.protocol.0, count8(self.spi.len(), "an SPI")?]);
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&self.spi);
        out.extend_from_slice(&self.data);
        Ok(())
    }
}
