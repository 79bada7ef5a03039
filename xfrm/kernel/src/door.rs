use core::ops::RangeInclusive;

use crate::{
    AllocateSpi, Capabilities, ChildSa, EventStream, Policy, PolicyId, Relocation, StateId, StateRecord,
    Statistics, XfrmError,
};

/// The reqids that Adit gives to its states and policies. What carries one is ours, also after a crash.
/// (IKE daemons that count from 1 don't come here; a reqid of a client must be its own: the outbound state is chosen
/// by addresses and reqid, and clients behind one NAT share addresses.)
pub const OUR_REQIDS: RangeInclusive<u32> = 0x4100_0000..=0x41FF_FFFF;

/// The if_ids of Adit's xfrm interfaces, and of the states and policies that belong to them.
pub const OUR_IF_IDS: RangeInclusive<u32> = 0x4100_0000..=0x41FF_FFFF;

/// What the daemon may ask of the kernel's IPsec.
///
/// Calls block for as long as the kernel works (tens of microseconds; longer where it loads a module), never for a
/// peer. They may come from any thread.
pub trait XfrmDoor: Send + Sync {
    /// Reserves an inbound SPI: a larval state that the kernel drops by itself after `net.core.xfrm_acq_expires`
    /// seconds (30) unless [`XfrmDoor::install`] completes it.
    ///
    /// # Errors
    /// The kernel refused, or has no IPsec.
    fn allocate_spi(&self, request: &AllocateSpi) -> Result<u32, XfrmError>;

    /// Forgets an ACQUIRE: a packet that met an outbound policy without a state has left one that waits to be negotiated,
    /// and goes by time alone; until then the kernel tells of no other packet. Without an SPI nobody can name it. So it is
    /// given one, which the kernel gives to this very state, and removed. `acquired` is outbound: it leads from its `remote`
    /// to its `local`. Where there is none, nothing is left either.
    fn forget_acquired(&self, acquired: &AllocateSpi) -> Vec<XfrmError> {
        match self.allocate_spi(acquired) {
            Ok(spi) => {
                self.remove_states(&[StateId { destination: acquired.local, spi, mark: acquired.mark }])
            }
            Err(error) => vec![error],
        }
    }

    /// Installs a pair of states, or one of them, and the policies given with them, in one batch: inbound first, so that
    /// nothing that the peer sends is lost. All or nothing: if the kernel refuses one part, what it took is removed again.
    ///
    /// A larval state that the kernel dropped meanwhile is no error.
    ///
    /// # Errors
    /// The first refusal, with the kernel's own text.
    fn install(&self, child: ChildSa) -> Result<(), XfrmError>;

    /// Gives an xfrm interface, by its index, a queue that [`XfrmDoor::relocate`] can hold. It goes with the interface.
    ///
    /// # Errors
    /// The kernel refused, or has no `sch_plug`. The interface is as it was then.
    fn plug(&self, link: u32) -> Result<(), XfrmError>;

    /// Moves states to other addresses or ports, as [`Relocation`] says: no (SPI, sequence number) is sent twice, and where
    /// a peer moves no packet is lost. Every state is found under the new addresses afterwards. Inbound states at a former
    /// address of ours stand there, too, and are returned: they take what is on its way, and are to be removed soon. So is
    /// what packets asked for that met no outbound state meanwhile ([`XfrmDoor::forget_acquired`]), by our former address and
    /// by the new one; not at once, since the kernel tells of such a packet before it notes what it asks for.
    ///
    /// # Errors
    /// [`XfrmError::Immovable`], or the first refusal. Where nothing but addresses and ports of the peer was to change, the
    /// states are as they were; their ports may be the new ones. Else some may be gone.
    fn relocate(&self, relocation: &Relocation) -> Result<Vec<StateId>, XfrmError>;

    /// Lets the kernel find policies whose peer's side is a single address by a hash of it, whatever our side is. For
    /// servers, whose policies are many. It holds for the whole network namespace, and changes nothing but speed.
    ///
    /// # Errors
    /// The kernel refused.
    fn hash_by_peer(&self) -> Result<(), XfrmError>;

    /// Adds policies, or replaces those with the same selector, direction, mark and if_id in one step (no packet sees
    /// a gap).
    ///
    /// # Errors
    /// The first refusal. Policies before it stand.
    fn update_policies(&self, policies: &[Policy]) -> Result<(), XfrmError>;

    /// Removes states. One that does not exist (any more) is no error. Goes on after an error; returns them all.
    fn remove_states(&self, states: &[StateId]) -> Vec<XfrmError>;

    /// Removes policies. One that does not exist (any more) is no error. Goes on after an error; returns them all.
    fn remove_policies(&self, policies: &[PolicyId]) -> Vec<XfrmError>;

    /// The counters of a state; `None` if it does not exist.
    ///
    /// # Errors
    /// The kernel refused.
    fn query(&self, state: &StateId) -> Result<Option<Statistics>, XfrmError>;

    /// Every state of ours ([`OUR_REQIDS`] or [`OUR_IF_IDS`]), larval ones too, without keys.
    ///
    /// # Errors
    /// The kernel refused.
    fn states(&self) -> Result<Vec<StateRecord>, XfrmError>;

    /// Every policy of ours ([`OUR_REQIDS`] in its template, or [`OUR_IF_IDS`]).
    ///
    /// # Errors
    /// The kernel refused.
    fn policies(&self) -> Result<Vec<PolicyId>, XfrmError>;

    /// What this kernel can carry. Loads the modules it can find, and leaves nothing behind.
    ///
    /// # Errors
    /// The door has no rights to ask.
    fn capabilities(&self) -> Result<Capabilities, XfrmError>;

    /// EXPIRE, ACQUIRE and MAPPING from now on. Needs a tokio runtime.
    ///
    /// # Errors
    /// No socket, or no right to listen.
    fn subscribe(&self) -> Result<EventStream, XfrmError>;
}
