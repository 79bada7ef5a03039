//! A person's keyring: the Secret Service of their session (GNOME's, KDE's, KeePassXC's), where there is one.

use std::collections::HashMap;

use futures_util::StreamExt;
use zbus::{Connection, ObjectPath, OwnedObjectPath, OwnedVariant, Variant, proxy};
use zeroize::Zeroizing;

/// What D-Bus says for no object.
const NONE: &str = "/";

#[proxy(
    interface = "org.freedesktop.Secret.Service",
    default_service = "org.freedesktop.secrets",
    default_path = "/org/freedesktop/secrets"
)]
trait Service {
    /// `plain`: secrets go over the person's own bus as they are.
    fn open_session(
        &self,
        algorithm: &str,
        input: &Variant<'_>,
    ) -> zbus::Result<(OwnedVariant, OwnedObjectPath)>;
    /// Those that are unlocked, and those that are not.
    fn search_items(
        &self,
        attributes: HashMap<&str, &str>,
    ) -> zbus::Result<(Vec<OwnedObjectPath>, Vec<OwnedObjectPath>)>;
    /// What was unlocked at once, and a prompt for the rest.
    fn unlock(&self, objects: &[ObjectPath<'_>]) -> zbus::Result<(Vec<OwnedObjectPath>, OwnedObjectPath)>;
    fn read_alias(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
}

#[proxy(interface = "org.freedesktop.Secret.Collection", default_service = "org.freedesktop.secrets")]
trait Collection {
    fn create_item(
        &self,
        properties: HashMap<&str, Variant<'_>>,
        secret: (&ObjectPath<'_>, &[u8], &[u8], &str),
        replace: bool,
    ) -> zbus::Result<(OwnedObjectPath, OwnedObjectPath)>;
}

#[proxy(interface = "org.freedesktop.Secret.Item", default_service = "org.freedesktop.secrets")]
trait Item {
    /// Session, parameters, the secret, its type.
    fn get_secret(
        &self,
        session: &ObjectPath<'_>,
    ) -> zbus::Result<(OwnedObjectPath, Vec<u8>, Vec<u8>, String)>;
}

#[proxy(interface = "org.freedesktop.Secret.Prompt", default_service = "org.freedesktop.secrets")]
trait Prompt {
    fn prompt(&self, window: &str) -> zbus::Result<()>;
    #[zbus(signal)]
    fn completed(&self, dismissed: bool, result: Variant<'_>) -> zbus::Result<()>;
}

/// What a secret is kept as: of another server, or another question, it is another one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct About {
    /// The profile's name.
    pub(super) profile: String,
    /// The server as dialled.
    pub(super) server: String,
    /// As the connection calls it: `password`.
    pub(super) field: String,
}

impl About {
    fn attributes(&self) -> HashMap<&str, &str> {
        [
            ("xdg:schema", "org.adit1.Secret"),
            ("profile", self.profile.as_str()),
            ("server", self.server.as_str()),
            ("field", self.field.as_str()),
        ]
        .into()
    }
}

/// The keyring.
#[derive(Clone)]
pub(super) struct Keyring {
    bus: Connection,
    session: OwnedObjectPath,
}

impl Keyring {
    /// The one of the session on `bus`.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn open(bus: &Connection) -> zbus::Result<Self> {
        let service = ServiceProxy::new(bus).await?;
        let (_, session) = service.open_session("plain", &Variant::from("")).await?;
        Ok(Self { bus: bus.clone(), session })
    }

    /// What is kept; a locked keyring asks the person to open it.
    pub(super) async fn find(&self, about: &About) -> zbus::Result<Option<Zeroizing<Vec<u8>>>> {
        let service = ServiceProxy::new(&self.bus).await?;
        let (open, locked) = service.search_items(about.attributes()).await?;
        let path = match (open.into_iter().next(), locked.first()) {
            (Some(path), _) => path,
            (None, None) => return Ok(None),
            (None, Some(path)) => {
                let (_, prompt) = service.unlock(&[path.as_ref()]).await?;
                if !self.prompted(&prompt).await? {
                    return Ok(None);
                }
                path.clone()
            }
        };
        let item = ItemProxy::builder(&self.bus).path(path).build().await?;
        let (_, _, secret, _) = item.get_secret(&self.session).await?;
        Ok(Some(Zeroizing::new(secret)))
    }

    /// Keeps it, in place of what was kept before. Whether it does: a person may not want to open their keyring, or have none.
    pub(super) async fn keep(&self, about: &About, secret: &[u8]) -> zbus::Result<bool> {
        let service = ServiceProxy::new(&self.bus).await?;
        let path = service.read_alias("default").await?;
        if path.as_str() == NONE {
            return Ok(false);
        }
        let (_, prompt) = service.unlock(&[path.as_ref()]).await?;
        if !self.prompted(&prompt).await? {
            return Ok(false);
        }
        let label = format!("{} of the VPN connection {} to {}", about.field, about.profile, about.server);
        let properties = HashMap::from([
            ("org.freedesktop.Secret.Item.Label", Variant::from(label)),
            ("org.freedesktop.Secret.Item.Attributes", Variant::from(about.attributes())),
        ]);
        let collection = CollectionProxy::builder(&self.bus).path(path).build().await?;
        let secret = (&*self.session, &[][..], secret, "text/plain");
        let (_, prompt) = collection.create_item(properties, secret, true).await?;
        self.prompted(&prompt).await
    }

    /// Shows a prompt of the keyring's, if there is one, and waits for the person. `false`: they do not want to.
    async fn prompted(&self, prompt: &OwnedObjectPath) -> zbus::Result<bool> {
        if prompt.as_str() == NONE {
            return Ok(true);
        }
        let prompt = PromptProxy::builder(&self.bus).path(prompt.clone()).build().await?;
        let mut completed = prompt.receive_completed().await?;
        prompt.prompt("").await?;
        let Some(told) = completed.next().await else { return Ok(false) };
        Ok(!told.args()?.dismissed)
    }
}
