//! `fleet`: the tenants of a fleet are added, changed, paused, removed and shown.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use source_common::exit::{Exit, Failure};
use source_common::suggestion::nearest;
use source_common::value_reference::resolve_reference;
use source_runtime::source::{ComponentLoader, NetworkAccess};
use source_runtime::store::{self, StateDir};

use super::status::duration_text;
use super::{Table, cache_dir, print, print_json, terminal_width};
use crate::fleet::client::FleetClient;
use crate::fleet::tenant::Tenant;
use crate::report::{FleetOverview, SourceReport};
use crate::settings::{FleetSettings, Settings, is_tenant_name};
use crate::source;
use crate::supervisor::paused_sources;

/// An action of `fleet`.
#[derive(Debug)]
pub enum FleetAction {
    /// Adds the tenant of a file.
    Add(PathBuf),
    /// Replaces the settings of the tenant of a file.
    Change(PathBuf),
    /// Adds the sources of a directory, and changes those that differ.
    Import {
        /// With a file for each source, as `sources_dir` has them.
        directory: PathBuf,
        /// The state directory of the host that had them, for their checkpoints.
        state_dir: Option<PathBuf>,
    },
    /// Shows the names of all tenants.
    List,
    /// Pauses a tenant; its position is kept.
    Pause(String),
    /// Removes a tenant with its position.
    Remove(String),
    /// Resumes a paused tenant.
    Resume(String),
    /// Shows hosts and tenants.
    Status {
        /// As JSON, with every tenant.
        as_json: bool,
    },
}

/// Carries out an action on a fleet.
pub async fn fleet(config: &Path, action: FleetAction) -> Result<Exit, Failure> {
    let settings = Settings::read(config)?;
    let Some(fleet) = &settings.fleet else {
        return Err(Failure::settings(format!(
            "{}: there is no [fleet]; its tenants are the [[source]] of the file and the files of \
             `sources_dir`",
            config.display()
        )));
    };
    match action {
        FleetAction::Add(file) => {
            let components = source::component_loader(&settings, cache_dir(&settings))?;
            let tenant = read_tenant(&settings, &components, &file).await?;
            let fleet_client = FleetClient::open(fleet).await?;
            fleet_client.put(&tenant, None).await?;
            print(&format!("tenant `{}`: added\n", tenant.name))?;
        }
        FleetAction::Change(file) => {
            let components = source::component_loader(&settings, cache_dir(&settings))?;
            let tenant = read_tenant(&settings, &components, &file).await?;
            let fleet_client = FleetClient::open(fleet).await?;
            let former = require_tenant(&fleet_client, &tenant.name).await?;
            let tenant = tenant.with_pause_of(&former.tenant);
            fleet_client.put(&tenant, Some(&former)).await?;
            let paused = match tenant.is_enabled() {
                true => "",
                false => "; it is paused: `fleet resume` continues it",
            };
            print(&format!("tenant `{}`: changed{paused}\n", tenant.name))?;
        }
        FleetAction::Import {
            directory,
            state_dir,
        } => import(&settings, fleet, &directory, state_dir.as_deref()).await?,
        FleetAction::List => {
            let fleet_client = FleetClient::open(fleet).await?;
            let names = fleet_client.tenant_names().await?;
            print(
                &names
                    .iter()
                    .fold(String::new(), |text, name| text + name + "\n"),
            )?;
        }
        FleetAction::Pause(name) => set_enabled(fleet, &name, false).await?,
        FleetAction::Remove(name) => {
            let fleet_client = FleetClient::open(fleet).await?;
            // A name with `*` would match others. The rest of an interrupted removal is removed
            // too.
            if !is_tenant_name(&name) || !fleet_client.remove(&name).await? {
                return Err(unknown_tenant(&fleet_client, &name).await?);
            }
            print(&format!("tenant `{name}`: removed, with its position\n"))?;
        }
        FleetAction::Resume(name) => set_enabled(fleet, &name, true).await?,
        FleetAction::Status { as_json } => return status(fleet, as_json).await,
    }
    Ok(Exit::Done)
}

/// Returns the tenant of that name, or the failure that there is none.
async fn require_tenant(
    fleet_client: &FleetClient,
    name: &str,
) -> Result<crate::fleet::tenants::StoredTenant, Failure> {
    if let Some(stored) = fleet_client.tenant(name).await? {
        return Ok(stored);
    }
    Err(unknown_tenant(fleet_client, name).await?)
}

/// Returns the failure that there is no tenant of that name.
async fn unknown_tenant(fleet_client: &FleetClient, name: &str) -> Result<Failure, Failure> {
    let names = fleet_client.tenant_names().await?;
    let meant = nearest(name, names.iter().map(String::as_str));
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
    Ok(Failure::failed(format!(
        "there is no tenant `{name}`{meant}"
    )))
}

async fn set_enabled(fleet: &FleetSettings, name: &str, is_enabled: bool) -> Result<(), Failure> {
    let fleet_client = FleetClient::open(fleet).await?;
    let former = require_tenant(&fleet_client, name).await?;
    let word = if is_enabled { "resumed" } else { "paused" };
    if former.tenant.is_enabled() == is_enabled {
        return print(&format!("tenant `{name}`: was {word} already\n"));
    }
    let tenant = former.tenant.clone().with_enabled(is_enabled);
    fleet_client.put(&tenant, Some(&former)).await?;
    print(&format!("tenant `{name}`: {word}\n"))
}

/// Reads the file of a tenant and checks it as far as this machine can.
async fn read_tenant(
    settings: &Settings,
    components: &ComponentLoader,
    file: &Path,
) -> Result<Tenant, Failure> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let text = fs::read_to_string(file).map_err(|error| {
        Failure::settings(format!("{}: cannot be read: {error}", file.display()))
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let reason = error.message().replace('\n', ", ");
        Failure::settings(format!("{}: {reason}", file.display()))
    })?;
    let tenant = Tenant::new(&name, table)?;
    let source = tenant.settings_omitting_unresolved(&settings.file, &settings.inherited())?;
    let component = source::component_location(source.component.as_deref());
    let component = components.get_or_load(&component).await?;
    let schema = &component.description().settings_schema;
    let schema: serde_json::Value = serde_json::from_str(schema)
        .map_err(|error| Failure::settings(format!("settings schema: {error}")))?;
    // An unknown setting may be a secret with a misspelt name.
    if schema.get("additionalProperties") != Some(&serde_json::Value::Bool(true)) {
        let known = schema
            .get("properties")
            .and_then(serde_json::Value::as_object);
        let known = known.into_iter().flat_map(serde_json::Map::keys);
        tenant.refuse_unknown_settings(&known.map(String::as_str).collect::<Vec<_>>())?;
    }
    tenant.refuse_literal_secrets(&|key| {
        let write_only = schema.pointer(&format!("/properties/{key}/writeOnly"));
        write_only == Some(&serde_json::Value::Bool(true))
    })?;
    // Values that only the hosts have, also that of `proxy`, are checked there.
    let env = |name: &str| std::env::var(name).ok();
    let missing = tenant
        .references()
        .into_iter()
        .find_map(|reference| resolve_reference(&reference, &settings.file, &env).err());
    match missing {
        Some(reason) => print(&format!(
            "tenant `{name}`: its settings can be checked only by the hosts: here, a setting {reason}\n"
        ))?,
        None => {
            let prepared = source::prepare(components, &source, NetworkAccess::Offline).await?;
            if let Err(error) = source::try_settings(&prepared, &source, 0).await? {
                return Err(Failure::failed(format!("tenant `{name}`: {error}")));
            }
        }
    }
    Ok(tenant)
}

async fn import(
    settings: &Settings,
    fleet: &FleetSettings,
    directory: &Path,
    state_dir: Option<&Path>,
) -> Result<(), Failure> {
    let unreadable = |error: &std::io::Error| {
        Failure::settings(format!("{}: cannot be read: {error}", directory.display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(|error| unreadable(&error))? {
        let path = entry.map_err(|error| unreadable(&error))?.path();
        let is_hidden = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .starts_with('.');
        if path.extension() == Some(OsStr::new("toml")) && !is_hidden {
            files.push(path);
        }
    }
    files.sort();
    // Nothing is imported unless every tenant is valid.
    let components = source::component_loader(settings, cache_dir(settings))?;
    let mut tenants = Vec::with_capacity(files.len());
    for file in &files {
        tenants.push(read_tenant(settings, &components, file).await?);
    }
    // Locks the directory: a host that still runs would continue to store checkpoints there.
    let open = |path: &Path| store::check_same_user(path).and_then(|()| StateDir::open(path));
    let state = state_dir.map(open).transpose()?;
    let paused = match &state {
        Some(state_dir) => paused_sources(state_dir.path())?,
        None => BTreeSet::new(),
    };
    let fleet_client = FleetClient::open(fleet).await?;
    let (mut added, mut changed, mut positions) = (0_usize, 0_usize, 0_usize);
    let tenants_count = tenants.len();
    for tenant in tenants {
        let former = fleet_client.tenant(&tenant.name).await?;
        let former_tenant = former.as_ref().map(|former| &former.tenant);
        let tenant = keep_pause(tenant, former_tenant, &paused);
        let name = &tenant.name;
        if let Some(state_dir) = &state
            && former.is_none()
            && let Some(source_state) = store::read(state_dir.path(), name)?
        {
            // Before the tenant is added, when a host may claim it.
            if !fleet_client.import(source_state).await? {
                return Err(Failure::failed(format!(
                    "tenant `{name}`: the bucket has a position for it already; remove the tenant \
                     first, or leave out --state-dir"
                )));
            }
            positions += 1;
        }
        match &former {
            None => added += 1,
            Some(former) if former.tenant == tenant => continue,
            Some(_) => changed += 1,
        }
        fleet_client.put(&tenant, former.as_ref()).await?;
    }
    print(&format!(
        "{} tenants: {added} added, {changed} changed, {} as before; {positions} positions taken \
         over\n",
        tenants_count,
        tenants_count - added - changed
    ))
}

/// Returns an imported tenant, paused if the one that it replaces is paused; if it is new, if the host that
/// had it as a source has paused it.
fn keep_pause(tenant: Tenant, former: Option<&Tenant>, paused: &BTreeSet<String>) -> Tenant {
    match former {
        Some(former) => tenant.with_pause_of(former),
        None if paused.contains(&tenant.name) => tenant.with_enabled(false),
        None => tenant,
    }
}

/// The result of `fleet status --json`.
#[derive(Serialize)]
struct FleetStatusReport {
    #[serde(flatten)]
    fleet: FleetOverview,
    /// Every tenant, by name.
    sources: Vec<SourceReport>,
}

async fn status(fleet: &FleetSettings, as_json: bool) -> Result<Exit, Failure> {
    let fleet_client = FleetClient::open(fleet).await?;
    let mut sources = BTreeMap::new();
    let overview = fleet_client.overview(SystemTime::now(), |source, _| {
        sources.insert(source.source.clone(), source);
    });
    let report = FleetStatusReport {
        fleet: overview.await?,
        sources: sources.into_values().collect(),
    };
    if as_json {
        print_json(&report)?;
    } else {
        print(&to_text(&report))?;
    }
    let hosts_exit = if report.fleet.hosts.is_empty() {
        Exit::Unhealthy
    } else {
        Exit::Done
    };
    Ok(report
        .sources
        .iter()
        .map(SourceReport::exit)
        .fold(hosts_exit, Exit::max))
}

/// Maximum number of tenants that need attention and are named in the text.
const ATTENTION_SHOWN_MAX: usize = 50;

fn to_text(report: &FleetStatusReport) -> String {
    let fleet = &report.fleet;
    let mut text = String::new();
    let mut hosts = Table::new(&[
        "host",
        "version",
        "leases",
        "of",
        "taken",
        "expired",
        "fenced",
        "longest delay",
    ]);
    for host in &fleet.hosts {
        hosts.row(vec![
            host.host.clone(),
            host.version.clone(),
            host.leases.to_string(),
            host.leases_max.to_string(),
            host.taken.to_string(),
            host.expired.to_string(),
            host.fenced.to_string(),
            duration_text(Some(host.late_ms / 1_000)),
        ]);
    }
    // Writing to a `String` cannot fail.
    if fleet.hosts.is_empty() {
        let _ = writeln!(
            text,
            "hosts: none is running; start one with `source-host run`"
        );
    } else {
        text.push_str(&hosts.render_within(terminal_width()));
    }
    let states = fleet.states.iter();
    let states: Vec<String> = states
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let _ = writeln!(
        text,
        "\ntenants: {} ({}); {} were never polled; {} are worked on now",
        fleet.tenants,
        states.join(", "),
        fleet.never_polled,
        fleet.leases
    );
    if let Some(oldest) = &fleet.oldest_due {
        let _ = writeln!(
            text,
            "oldest due: `{}`, since {} ({})",
            oldest.tenant,
            oldest.since,
            duration_text(Some(oldest.seconds))
        );
    }
    let needing_attention = report
        .sources
        .iter()
        .filter(|source| source.exit() != Exit::Done);
    let mut table = Table::new(&["tenant", "state", "last poll", "last message"]);
    let mut shown = 0;
    for source in needing_attention.clone().take(ATTENTION_SHOWN_MAX) {
        table.row(vec![
            source.source.clone(),
            source.state.name().to_owned(),
            source
                .last_poll_at
                .map_or_else(|| "-".to_owned(), |at| at.to_string()),
            source.detail.clone(),
        ]);
        shown += 1;
    }
    if shown > 0 {
        text.push('\n');
        text.push_str(&table.render_within(terminal_width()));
        let hidden = needing_attention.count() - shown;
        if hidden > 0 {
            let _ = writeln!(text, "and {hidden} more; --json shows all");
        }
    }
    text
}
