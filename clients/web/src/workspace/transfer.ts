import { ask, check, endpoint, Fault } from "../server.ts";
import { DOWNLOAD, UPLOAD } from "./documents.ts";

type Format = "FILE" | "ZIP" | "PATCH" | "TRAJECTORY_JSON" | "TRAJECTORY_MARKDOWN";

/** Has the browser save something of a conversation. Throws a Fault. */
export async function download(conversationId: string, format: Format, paths: string[] = []): Promise<void> {
  const { createDownload } = await ask(DOWNLOAD, { input: { conversationId, format, paths } });
  check(createDownload);
  if (!createDownload.download) return;
  const { url, fileName } = createDownload.download;
  const link = document.createElement("a");
  link.href = endpoint(url);
  link.download = fileName;
  link.click();
}

/** Puts a file into a conversation's workspace, and returns its path there. Throws a Fault. */
export async function upload(conversationId: string, file: File, path: string): Promise<string> {
  const { createUpload } = await ask(UPLOAD, { input: { conversationId, path, sizeBytes: file.size } });
  check(createUpload);
  if (!createUpload.upload) throw new Fault("There is no room for it.", "INTERNAL");
  let response: Response;
  try {
    response = await fetch(endpoint(createUpload.upload.url), { method: "PUT", body: file });
  } catch {
    throw new Fault("The server can’t be reached.", "UNREACHABLE");
  }
  if (!response.ok) throw new Fault(`The server did not take the file (${response.status}).`, "INTERNAL");
  return createUpload.upload.path;
}
