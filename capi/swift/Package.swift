// swift-tools-version:5.9
import PackageDescription

let package = Package(
  name: "Sluice",
  platforms: [.macOS(.v12), .iOS(.v15)],
  products: [
    .library(name: "Sluice", targets: ["Sluice"]),
    // The C library alone, for what Sluice does not wrap.
    .library(name: "CSluice", targets: ["CSluice"]),
  ],
  targets: [
    // The installed C library; PKG_CONFIG_PATH says where it is, if not in a system folder.
    .systemLibrary(name: "CSluice", pkgConfig: "sluice"),
    .target(name: "Sluice", dependencies: ["CSluice"]),
    .testTarget(name: "SluiceTests", dependencies: ["Sluice"]),
  ]
)
