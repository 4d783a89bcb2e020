//! `plan`: what a mesh would be made of, without a cluster. What a cluster would refuse is
//! refused with the same words. Reads nothing but the file.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use kube::core::cel::{Validator, apply_defaults};
use pulsemesh_crds::PulseMesh;
use serde_json::Value;

use super::{EXIT_OK, EXIT_USAGE, print, schema};
use crate::mesh::object::Kind;
use crate::mesh::observed::Observed;
use crate::mesh::validate::{Defaults, validate};
use crate::mesh::{build, topology};

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
    let meshes: Vec<Value> = match serde_saphyr::from_multiple(&text) {
        Ok(meshes) => meshes,
        Err(error) => {
            writeln!(problems, "{}: {error}", file.display())?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let mut code = EXIT_OK;
    if meshes.iter().all(Value::is_null) {
        writeln!(problems, "{}: there is no mesh in it", file.display())?;
        code = EXIT_USAGE;
    }
    for mesh in meshes.into_iter().filter(|mesh| !mesh.is_null()) {
        let name = mesh.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("mesh");
        let name = name.to_owned();
        for problem in plan(mesh, defaults, out)? {
            writeln!(problems, "{name}: {problem}")?;
            code = EXIT_USAGE;
        }
    }
    out.flush()?;
    Ok(ExitCode::from(code))
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

/// Prints the objects of a mesh; the answer is what is wrong with it, and then nothing is printed.
fn plan(mesh: Value, defaults: &Defaults, out: &mut dyn Write) -> anyhow::Result<Vec<String>> {
    let mesh = match admit(mesh) {
        Ok(mesh) => mesh,
        Err(problems) => return Ok(problems),
    };
    let plan = match validate(&mesh, defaults) {
        Ok(plan) => plan,
        Err(problems) => {
            let tell = |problem: crate::mesh::validate::Problem| {
                format!("{}: {}", problem.path, problem.message)
            };
            return Ok(problems.into_iter().map(tell).collect());
        }
    };
    // A cluster that knows every optional kind, and has nothing yet.
    let optional_kinds = Kind::ALL.into_iter().filter(|kind| kind.is_optional()).collect();
    let observed = Observed { optional_kinds, ..Observed::default() };
    let step = topology::next(&plan, &observed);
    for object in build::objects(&plan, &observed, &step)? {
        print(&object.value, out)?;
    }
    Ok(Vec::new())
}

/// A mesh as a cluster would take it, with all defaults.
fn admit(mut mesh: Value) -> Result<PulseMesh, Vec<String>> {
    let schema = schema::of_meshes();
    let problems = schema::problems(&schema, &mesh);
    if !problems.is_empty() {
        return Err(problems);
    }
    mesh = apply_defaults(&schema, &mesh);
    if let Err(errors) = Validator::new().validate(&schema, &mesh, None) {
        return Err(errors.into_vec().iter().map(ToString::to_string).collect());
    }
    let mut mesh: PulseMesh =
        serde_json::from_value(mesh).map_err(|error| vec![error.to_string()])?;
    mesh.metadata.namespace.get_or_insert_with(|| NAMESPACE.to_owned());
    mesh.metadata.uid.get_or_insert_with(|| UID.to_owned());
    Ok(mesh)
}
