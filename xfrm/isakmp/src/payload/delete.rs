use adit_core::DecodeError;

use super::Protocol;
use crate::wire::{EncodeError, Reader};

/// D (RFC 7296 §3.11).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delete {
    /// The IKE_SA that the message belongs to.
    Ike,
    /// CHILD_SAs, by the SPIs that the sender receives on.
    Child {
        /// [`Protocol::ESP`] or [`Protocol::AH`].
        protocol: Protocol,
        /// The sender's inbound SPIs.
        spis: Vec<u32>,
    },
    /// Something else, to be ignored.
    Unknown {
        /// Protocol ID.
        protocol: Protocol,
        /// SPI Size.
        spi_size: u8,
        /// Number of SPIs.
        count: u16,
        /// The SPIs: `spi_size * count` bytes.
        spis: Vec<u8>,
    },
}

impl Delete {
    /// Deletes one ESP SA, by our inbound SPI.
    #[must_use]
    pub fn esp(spi: u32) -> Self {
        Self::Child { protocol: Protocol::ESP, spis: vec![spi] }
    }

    pub(super) fn read(mut r: Reader<'_>) -> Result<Self, DecodeError> {
        let cut = "the Delete payload is cut off";
        let protocol = Protocol(r.u8(cut)?);
        let size_at = r.at();
        let spi_size = r.u8(cut)?;
        let count = r.u16(cut)?;
        if r.len() != usize::from(spi_size).saturating_mul(usize::from(count)) {
            return Err(DecodeError::new(size_at, "SPI size and number of SPIs do not fit the payload"));
        }
        match (protocol, spi_size) {
            // [7296:3.11-3]
            (Protocol::IKE, 0) if count == 0 => Ok(Self::Ike),
            (Protocol::IKE, _) => Err(DecodeError::new(size_at, "deleting an IKE_SA takes no SPI")),
            // [7296:3.11-3]
            (Protocol::ESP | Protocol::AH, 4) => Ok(Self::Child {
                protocol,
                spis: r.rest().as_chunks::<4>().0.iter().map(|c| u32::from_be_bytes(*c)).collect(),
            }),
            (Protocol::ESP | Protocol::AH, _) => {
                Err(DecodeError::new(size_at, "the SPI of a CHILD_SA has 4 bytes"))
            }
            _ => Ok(Self::Unknown { protocol, spi_size, count, spis: r.rest().to_vec() }),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::Ike => out.extend_from_slice(&[Protocol::IKE.0, 0, 0, 0]),
            Self::Child { protocol, spis } => {
                let count =
                    u16::try_from(spis.len()).map_err(|_| EncodeError { what: "the list of SPIs" })?;
                // [7296:3.11-1] [7296:3.11-2]
                out.extend_from_slice(&[protocol.0, 4]);
                out.extend_from_slice(&count.to_be_bytes());
                out.extend(spis.iter().flat_map(|spi| spi.to_be_bytes()));
            }
            Self::Unknown { protocol, spi_size, count, spis } => {
                out.extend_from_slice(&[protocol.0, *spi_size]);
                out.extend_from_slice(&count.to_be_bytes());
                out.extend_from_slice(spis);
            }
        }
        Ok(())
    }
}
