/*
 * The editor plugin for libnm: nmcli's and GNOME's import and export of connections of the type adit. It has no window
 * of its own, and no format either: ctl(1) reads and writes all of them, and gives or takes a keyfile.
 *
 * What is secret goes through pipes and memory, never through an argument or the environment. ctl is started by its whole
 * path, without a shell, with an environment of its own, has half a minute, and may say a MiB.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <NetworkManager.h>

#define SERVICE "org.freedesktop.NetworkManager.adit"

#ifndef ADIT_CTL
#define ADIT_CTL "/usr/bin/ctl"
#endif

/* What ctl may say: the connection or profile, and why there is none; in bytes. */
#define LONGEST (1024 * 1024)
#define LONGEST_REASON (8 * 1024)
/* How long it may take, in microseconds. */
#define PATIENCE (30 * G_USEC_PER_SEC)

/* libnm has it since 1.52; before, it takes no notice. */
#define CAPABILITY_NO_EDITOR 0x08

/* A text that may hold secrets: it does not move as it grows, and does not stay behind. */
typedef GString Secret;

static Secret *
secret_new(gsize longest)
{
    return g_string_sized_new(longest + 1);
}

static void
secret_free(Secret *secret)
{
    explicit_bzero(secret->str, secret->allocated_len);
    g_string_free(secret, TRUE);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Secret, secret_free)

G_DEFINE_QUARK(adit-editor-plugin, failure)

/* A file in memory with this text, to be read from its beginning. */
static int
readable(const char *text, gsize length, GError **error)
{
    int file = memfd_create("adit-connection", MFD_CLOEXEC);
    gsize done = 0;

    while (file >= 0 && done < length) {
        ssize_t n = write(file, text + done, length - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (gsize) n;
    }
    if (file < 0 || done < length || lseek(file, 0, SEEK_SET) < 0) {
        g_set_error(error, failure_quark(), 0, "no memory for the connection: %s", g_strerror(errno));
        if (file >= 0)
            close(file);
        return -1;
    }
    return file;
}

/* Reads what ctl says until it has no more to say. FALSE: it says too much, or takes too long. */
static gboolean
listen_to(int out, int err, Secret *said, GString *reason)
{
    struct pollfd files[2] = {{.fd = out, .events = POLLIN}, {.fd = err, .events = POLLIN}};
    gint64 end = g_get_monotonic_time() + PATIENCE;
    gboolean heard = TRUE;
    char piece[4096];

    /* poll() passes over what is negative. */
    while (heard && (files[0].fd >= 0 || files[1].fd >= 0)) {
        gint64 left = (end - g_get_monotonic_time()) / 1000;
        int ready = left > 0 ? poll(files, 2, (int) left) : 0;

        if (ready < 0 && errno == EINTR)
            continue;
        heard = ready > 0;
        for (int i = 0; heard && i < 2; i++) {
            ssize_t n;

            if (files[i].fd < 0 || files[i].revents == 0)
                continue;
            n = read(files[i].fd, piece, sizeof(piece));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) {
                files[i].fd = -1;
            } else if (i == 0) {
                heard = said->len + (gsize) n <= LONGEST;
                if (heard)
                    g_string_append_len(said, piece, n);
            } else {
                gsize room = LONGEST_REASON - reason->len;
                g_string_append_len(reason, piece, (gssize) MIN(room, (gsize) n));
            }
        }
    }
    explicit_bzero(piece, sizeof(piece));
    return heard;
}

/* Runs ctl with this file as its standard input (-1: none). NULL: it has refused, and says why in error. */
static Secret *
ask_ctl(const char *const *argv, int input, GError **error)
{
    g_autofree char *home = g_strdup_printf("HOME=%s", g_get_home_dir());
    const char *environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "NO_COLOR=1", home, NULL};
    g_autoptr(Secret) said = secret_new(LONGEST);
    g_autoptr(GString) reason = g_string_sized_new(LONGEST_REASON);
    GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD;
    int out[2] = {-1, -1}, err[2] = {-1, -1}, status = 0;
    gboolean heard;
    GPid child;

    if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0) {
        g_set_error(error, failure_quark(), 0, "no pipe to %s: %s", argv[0], g_strerror(errno));
        if (out[0] >= 0) {
            close(out[0]);
            close(out[1]);
        }
        return NULL;
    }
    heard = g_spawn_async_with_fds("/", (char **) argv, (char **) environment, flags, NULL, NULL, &child, input,
                                   out[1], err[1], error);
    close(out[1]);
    close(err[1]);
    if (heard) {
        heard = listen_to(out[0], err[0], said, reason);
        if (!heard)
            kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        g_spawn_close_pid(child);
        if (!heard)
            g_set_error(error, failure_quark(), 0, "%s says too much, or takes too long", argv[0]);
    }
    close(out[0]);
    close(err[0]);
    if (!heard)
        return NULL;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        g_autofree char *why = g_utf8_make_valid(g_strstrip(reason->str), -1);
        g_set_error(error, failure_quark(), 0, "%s", *why ? why : "ctl gives no reason");
        return NULL;
    }
    /* What is left out of a file is not dropped in silence. */
    if (reason->len > 0)
        g_message("%s", g_strchomp(reason->str));
    return g_steal_pointer(&said);
}

/* The connection that a keyfile is, if it is one of ours. */
static NMConnection *
connection_of(const Secret *keyfile, GError **error)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autoptr(NMConnection) connection = NULL;
    NMSettingVpn *vpn;

    if (!g_key_file_load_from_data(keys, keyfile->str, keyfile->len, G_KEY_FILE_NONE, error))
        return NULL;
    connection = nm_keyfile_read(keys, "/", NM_KEYFILE_HANDLER_FLAGS_NONE, NULL, NULL, error);
    if (!connection || !nm_connection_normalize(connection, NULL, NULL, error))
        return NULL;
    vpn = nm_connection_get_setting_vpn(connection);
    if (!vpn || g_strcmp0(nm_setting_vpn_get_service_type(vpn), SERVICE) != 0) {
        g_set_error(error, failure_quark(), 0, "what ctl has made of it is no connection of the type adit");
        return NULL;
    }
    return g_steal_pointer(&connection);
}

static NMConnection *
import_from_file(NMVpnEditorPlugin *plugin, const char *path, GError **error)
{
    g_autofree char *whole = g_canonicalize_filename(path, NULL);
    g_autofree char *files = g_build_filename(g_get_home_dir(), ".cert", "nm-adit", NULL);
    const char *argv[] = {ADIT_CTL, "import", "--to-networkmanager", "--files-to", files, "--", whole, NULL};
    g_autoptr(Secret) keyfile = NULL;

    (void) plugin;
    keyfile = ask_ctl(argv, -1, error);
    return keyfile ? connection_of(keyfile, error) : NULL;
}

static gboolean
export_to_file(NMVpnEditorPlugin *plugin, const char *path, NMConnection *connection, GError **error)
{
    const char *argv[] = {ADIT_CTL, "export", "--from-networkmanager", "-", NULL};
    g_autoptr(GKeyFile) keys = NULL;
    g_autoptr(Secret) profile = NULL;
    gsize length = 0;
    char *keyfile;
    int input;

    (void) plugin;
    keys = nm_keyfile_write(connection, NM_KEYFILE_HANDLER_FLAGS_NONE, NULL, NULL, error);
    if (!keys)
        return FALSE;
    keyfile = g_key_file_to_data(keys, &length, NULL);
    input = readable(keyfile, length, error);
    explicit_bzero(keyfile, length);
    g_free(keyfile);
    if (input < 0)
        return FALSE;
    profile = ask_ctl(argv, input, error);
    close(input);
    return profile
           && g_file_set_contents_full(path, profile->str, (gssize) profile->len,
                                       G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

static char *
get_suggested_filename(NMVpnEditorPlugin *plugin, NMConnection *connection)
{
    const char *id = nm_connection_get_id(connection);

    (void) plugin;
    return g_strdup_printf("%s.toml", id ? id : "connection");
}

static NMVpnEditorPluginCapability
get_capabilities(NMVpnEditorPlugin *plugin)
{
    (void) plugin;
    return (NMVpnEditorPluginCapability) (NM_VPN_EDITOR_PLUGIN_CAPABILITY_IMPORT | NM_VPN_EDITOR_PLUGIN_CAPABILITY_EXPORT
                                          | NM_VPN_EDITOR_PLUGIN_CAPABILITY_IPV6 | CAPABILITY_NO_EDITOR);
}

static NMVpnEditor *
get_editor(NMVpnEditorPlugin *plugin, NMConnection *connection, GError **error)
{
    (void) plugin;
    (void) connection;
    g_set_error(error, failure_quark(), 0,
                "connections of the type adit have no editor: import a profile, or use nmcli connection modify");
    return NULL;
}

typedef struct {
    GObject parent;
} AditEditorPlugin;

typedef struct {
    GObjectClass parent;
} AditEditorPluginClass;

enum { PROP_0, PROP_NAME, PROP_DESCRIPTION, PROP_SERVICE };

static void
implement(NMVpnEditorPluginInterface *plugin)
{
    plugin->get_editor = get_editor;
    plugin->get_capabilities = get_capabilities;
    plugin->import_from_file = import_from_file;
    plugin->export_to_file = export_to_file;
    plugin->get_suggested_filename = get_suggested_filename;
}

static GType adit_editor_plugin_get_type(void);

G_DEFINE_TYPE_WITH_CODE(AditEditorPlugin, adit_editor_plugin, G_TYPE_OBJECT,
                        G_IMPLEMENT_INTERFACE(NM_TYPE_VPN_EDITOR_PLUGIN,
                                              (GInterfaceInitFunc) (void (*)(void)) implement))

static void
get_property(GObject *object, guint property, GValue *value, GParamSpec *about)
{
    switch (property) {
    case PROP_NAME:
        g_value_set_string(value, "Adit (IKEv2, SSTP, L2TP/IPsec, PPTP)");
        break;
    case PROP_DESCRIPTION:
        g_value_set_string(value, "Tunnels that the Linux kernel carries, to servers of many makers.");
        break;
    case PROP_SERVICE:
        g_value_set_string(value, SERVICE);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, property, about);
    }
}

static void
adit_editor_plugin_class_init(AditEditorPluginClass *class)
{
    GObjectClass *object = G_OBJECT_CLASS(class);

    object->get_property = get_property;
    g_object_class_override_property(object, PROP_NAME, NM_VPN_EDITOR_PLUGIN_NAME);
    g_object_class_override_property(object, PROP_DESCRIPTION, NM_VPN_EDITOR_PLUGIN_DESCRIPTION);
    g_object_class_override_property(object, PROP_SERVICE, NM_VPN_EDITOR_PLUGIN_SERVICE);
}

static void
adit_editor_plugin_init(AditEditorPlugin *plugin)
{
    (void) plugin;
}

/* What libnm looks for. */
__attribute__((visibility("default"))) NMVpnEditorPlugin *
nm_vpn_editor_plugin_factory(GError **error)
{
    (void) error;
    return NM_VPN_EDITOR_PLUGIN(g_object_new(adit_editor_plugin_get_type(), NULL));
}
