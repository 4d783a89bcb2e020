//! `plan`: what a mesh and its tenants would be made of, without a cluster. What a cluster would refuse is
//! refused with the same words. Reads nothing but the file.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use kube::core::cel::{Validator, apply_defaults};
use kube::{CustomResourceExt, Resource, ResourceExt};
use pulsemesh_crds::{PulseMesh, PulseTenant};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{EXIT_OK, EXIT_USAGE, print, schema};
use crate::mesh::object::Kind;
use crate::mesh::observed::Observed;
use crate::mesh::validate::{Defaults, validate};
use crate::mesh::{build, topology};
use crate::tenants::preview;

/// Bytes of a file with meshes; a hundred large ones have a tenth.
const BYTES_MAX: u64 = 8 << 20;
/// A namespace for meshes that name none, as `kubectl` has it.
const NAMESPACE: &str = "default";
/// In place of the uid that the cluster would give.
const UID: &str = "00000000-0000-0000-0000-000000000000";

/// Prints the objects of every mesh of a file; problems go to `problems`.
///
/// # Errors
/// When the file can't be read, or the output not be written.
pub(super) fn run(
    file: &Path,
    defaults: &Defaults,
    out: &mut dyn Write,
    problems: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let text = read(file).with_context(|| format!("read {}", file.display()))?;
    let documents: Vec<Value> = match serde_saphyr::from_multiple(&text) {
        Ok(documents) => documents,
        Err(error) => {
            writeln!(problems, "{}: {error}", file.display())?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let mut code = EXIT_OK;
    if documents.iter().all(Value::is_null) {
        writeln!(problems, "{}: there is no mesh in it", file.display())?;
        code = EXIT_USAGE;
    }
    let documents = documents.into_iter().filter(|document| !document.is_null());
    let (tenants, meshes): (Vec<Value>, Vec<Value>) =
        documents.partition(|document| document["kind"] == *PulseTenant::kind(&()));
    let mut found = Found::default();
    for tenant in tenants {
        let name = name_of(&tenant);
        match admit::<PulseTenant>(tenant) {
            Ok(tenant) => found.tenants.push(tenant),
            Err(wrong) => found.wrong.extend(wrong.iter().map(|it| format!("{name}: {it}"))),
        }
    }
    for mesh in meshes {
        plan(mesh, defaults, &mut found, out)?;
    }
    // Of a mesh that is not in the file nothing is known, as of one that the cluster has.
    let strays = found.tenants.iter().map(|tenant| {
        format!("{}: there is no PulseMesh {} in the file", tenant.name_any(), tenant.spec.mesh)
    });
    for problem in found.wrong.iter().cloned().chain(strays) {
        writeln!(problems, "{problem}")?;
        code = EXIT_USAGE;
    }
    out.flush()?;
    Ok(ExitCode::from(code))
}

/// What a file has, as far as it is understood.
#[derive(Default)]
struct Found {
    /// Tenants whose mesh has not come yet.
    tenants: Vec<PulseTenant>,
    wrong: Vec<String>,
}

fn name_of(object: &Value) -> String {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("mesh").to_owned()
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().take(BYTES_MAX + 1).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(file)?.take(BYTES_MAX + 1).read_to_string(&mut text)?;
    }
    ensure!(text.len() as u64 <= BYTES_MAX, "it has more than {BYTES_MAX} bytes");
    Ok(text)
}

/// Prints the objects of a mesh and its tenants; of one with which something is wrong, nothing is
/// printed.
fn plan(
    mesh: Value,
    defaults: &Defaults,
    found: &mut Found,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let name = name_of(&mesh);
    let mut wrong = |problems: Vec<String>| {
        found.wrong.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
        Ok(())
    };
    let mesh: PulseMesh = match admit(mesh) {
        Ok(mesh) => mesh,
        Err(problems) => return wrong(problems),
    };
    let plan = match validate(&mesh, defaults) {
        Ok(plan) => plan,
        Err(problems) => return wrong(problems.iter().map(ToString::to_string).collect()),
    };
    // A cluster that knows every optional kind, and has nothing yet.
    let optional_kinds = Kind::ALL.into_iter().filter(|kind| kind.is_optional()).collect();
    let observed = Observed { optional_kinds, ..Observed::default() };
    let step = topology::next(&plan, &observed);
    for object in build::objects(&plan, &observed, &step)? {
        print(&object.value, out)?;
    }
    let is_of_mesh = |tenant: &mut PulseTenant| {
        tenant.spec.mesh == name && tenant.namespace() == mesh.namespace()
    };
    let mut tenants: Vec<PulseTenant> = found.tenants.extract_if(.., is_of_mesh).collect();
    if !plan.ingest.access.by_tenants {
        let open = "the mesh is open to everybody: set spec.ingest.tenants.required to true";
        let open = tenants.iter().map(|tenant| format!("{}: {open}", tenant.name_any()));
        found.wrong.extend(open);
        return Ok(());
    }
    match preview::secrets(&mesh, &mut tenants, defaults) {
        Ok(secrets) => secrets.iter().try_for_each(|secret| print(secret, out)),
        Err(problems) => {
            found.wrong.extend(problems);
            Ok(())
        }
    }
}

/// An object as a cluster would take it, with all defaults.
fn admit<K>(mut object: Value) -> Result<K, Vec<String>>
where
    K: CustomResourceExt + Resource<DynamicType = ()> + DeserializeOwned,
{
    let schema = schema::of::<K>();
    let problems = schema::problems(&schema, &K::kind(&()), &object);
    if !problems.is_empty() {
        return Err(problems);
    }
    object = apply_defaults(&schema, &object);
    if let Err(errors) = Validator::new().validate(&schema, &object, None) {
        return Err(errors.into_vec().iter().map(ToString::to_string).collect());
    }
    let mut object: K = serde_json::from_value(object).map_err(|error| vec![error.to_string()])?;
    object.meta_mut().namespace.get_or_insert_with(|| NAMESPACE.to_owned());
    object.meta_mut().uid.get_or_insert_with(|| UID.to_owned());
    Ok(object)
}
